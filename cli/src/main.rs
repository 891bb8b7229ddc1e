//! The program `kappa`: a shell, a script runner and a headless service around an embedded engine.
//!
//! The way of a statement typed by a person: [`shell`] reads it, [`runner`] hands it to the engine
//! and [`output`] prints the answer. [`script`] feeds the same runner from a file, [`headless`]
//! then stays until it is told to stop. Everything it knows of SQL it asks the engine.

mod args;
mod exit;
mod headless;
mod nexmark;
mod output;
mod progress;
mod properties;
mod report;
mod runner;
mod script;
mod settings;
mod shell;
mod shutdown;
mod signals;
mod sink;
mod task;
mod terminal;
mod upkeep;

use std::process::ExitCode;
use std::sync::Arc;

use kappa_engine::Engine;
use tokio::runtime::Runtime;

use args::{Args, Command};
use exit::Exit;
use report::report;
use runner::Runner;
use settings::Settings;
use signals::{Event, Signals};
use terminal::Terminal;
use upkeep::Upkeep;

/// Records are allocated by one thread and freed by another, by librdkafka and by us: the C library's
/// allocator makes them wait for each other, half of a pass-through's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Statements are planned on these threads too, and a long WHERE clause is a deep tree.
const STACK_BYTES: usize = 8 << 20;

fn main() -> ExitCode {
    let args = match Args::read(std::env::args_os()) {
        Ok(args) => args,
        Err(error) => {
            // Help and version come this way too. Nobody is left to be told if this fails.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let terminal = Terminal::detect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            report(&terminal, &format!("error: cannot start threads: {error}"));
            return Exit::Failed.into();
        }
    };
    let exit = start(&runtime, args, &terminal);
    // Not dropped: that would wait for whatever still blocks, after a second Ctrl-C too.
    runtime.shutdown_background();
    exit.into()
}

fn start(runtime: &Runtime, args: Args, terminal: &Terminal) -> Exit {
    let settings = match Settings::new(&args) {
        Ok(settings) => settings,
        Err(message) => {
            report(terminal, &format!("error: {message}"));
            return Exit::Usage;
        }
    };
    let signals = match runtime.block_on(async { Signals::install() }) {
        Ok(signals) => signals,
        Err(error) => {
            report(
                terminal,
                &format!("error: cannot listen for signals: {error}"),
            );
            return Exit::Failed;
        }
    };
    if let (Some(Command::Nexmark(fill)), Some(servers)) =
        (&args.command, &settings.config.bootstrap_servers)
    {
        return runtime.block_on(fill_kafka(&settings, servers, terminal, signals, fill));
    }
    if let Some(Command::Sink(command)) = &args.command {
        let work = sink::run(&settings.config, terminal, args.output, signals, command);
        return runtime.block_on(work);
    }
    let engine = match runtime.block_on(open(&settings, signals.clone())) {
        Ok(engine) => engine,
        Err(Opening::Failed(error)) => {
            report(terminal, &error.render());
            return Exit::Failed;
        }
        // Nothing was begun, so nothing is left to commit.
        Err(Opening::Stopped(_)) if args.command.is_some() => return Exit::Done,
        Err(Opening::Stopped(event)) => return event.exit(),
    };

    let upkeep = Upkeep::start(runtime, &engine, terminal);
    let clock = settings.config.clock.clone();
    let mut runner = Runner::new(
        engine.session(),
        clock.clone(),
        terminal.clone(),
        args.output,
        signals.clone(),
    );
    let exit = match runtime.block_on(define(&mut runner, &settings, terminal)) {
        Err(exit) => exit,
        Ok(()) => match &args.command {
            Some(Command::Run { script }) => runtime.block_on(headless::run(
                &engine,
                &mut runner,
                terminal,
                script.as_deref(),
            )),
            Some(Command::Nexmark(fill)) => {
                let filling =
                    nexmark::run(engine.topics(), terminal, &*clock, signals.clone(), fill);
                runtime.block_on(filling)
            }
            // It needs no engine.
            Some(Command::Sink(_)) => Exit::Done,
            None if !args.inputs.is_empty() => {
                runtime.block_on(script::run_all(&mut runner, terminal, &args.inputs))
            }
            None => runtime.block_on(shell::run(&engine, &mut runner, terminal, &settings)),
        },
    };
    // Neither may hold what the engine wants to close.
    drop(runner);
    runtime.block_on(upkeep.end());
    runtime.block_on(shutdown::shutdown(
        &engine, terminal, signals, &*clock, exit,
    ))
}

enum Opening {
    Failed(kappa_engine::Error),
    Stopped(Event),
}

/// Opens the engine; a broker that does not answer can be given up with Ctrl-C.
async fn open(settings: &Settings, mut signals: Signals) -> Result<Engine, Opening> {
    tokio::select! {
        engine = Engine::open(settings.config.clone()) => engine.map_err(Opening::Failed),
        event = signals.next() => Err(Opening::Stopped(event)),
    }
}

/// Fills topics on Kafka, for which no engine is wanted: one may be running on the data directory.
async fn fill_kafka(
    settings: &Settings,
    servers: &str,
    terminal: &Terminal,
    mut signals: Signals,
    fill: &nexmark::Fill,
) -> Exit {
    let connected = tokio::select! {
        connected = kappa_engine::kafka_topics(servers, &settings.config) => connected,
        event = signals.next() => return event.exit(),
    };
    match connected {
        Ok(topics) => {
            let topics = Arc::new(topics) as Arc<dyn kappa_engine::topic::Topics>;
            nexmark::run(&topics, terminal, &*settings.config.clock, signals, fill).await
        }
        Err(error) => {
            report(terminal, &error.render());
            Exit::Failed
        }
    }
}

/// The variables of `--define`.
async fn define(runner: &mut Runner, settings: &Settings, terminal: &Terminal) -> Result<(), Exit> {
    for (name, value) in &settings.variables {
        let statement = format!("DEFINE {name} = '{}'", value.replace('\'', "''"));
        if let Err(error) = runner.quietly(&statement).await {
            report(terminal, &error.render());
            return Err(Exit::Usage);
        }
    }
    Ok(())
}
