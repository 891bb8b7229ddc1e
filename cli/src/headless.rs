//! `kappa run`: a script, then its queries until somebody says stop.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use kappa_engine::{Engine, QueryInfo, QueryState};

use crate::args::Input;
use crate::exit::Exit;
use crate::report::{note, report};
use crate::runner::Runner;
use crate::script;
use crate::terminal::Terminal;

/// How often queries are looked at. States change seldom, and each change is in the engine's own
/// metrics too: this is for whoever reads the log.
const WATCH: Duration = Duration::from_millis(250);

/// Runs the script and then waits for SIGTERM or Ctrl-C. Without a script the queries of the data
/// directory are all there is to run.
pub(crate) async fn run(
    engine: &Engine,
    runner: &mut Runner,
    terminal: &Terminal,
    script: Option<&Path>,
) -> Exit {
    let mut watch = Watch::default();
    watch.report(terminal, &engine.queries());
    if let Some(path) = script {
        let input = Input::named(path.to_owned());
        let mut running = std::pin::pin!(script::run(runner, terminal, &input));
        // A script may hold a push query and take as long as the queries before it live.
        let result = loop {
            tokio::select! {
                result = &mut running => break result,
                () = tokio::time::sleep(WATCH) => watch.report(terminal, &engine.queries()),
            }
        };
        match result {
            Ok(()) => {}
            // Asked to stop: that is how this command ends.
            Err(Exit::Interrupted | Exit::Terminated) => return Exit::Done,
            Err(exit) => return exit,
        }
    }
    let queries = engine.queries();
    watch.report(terminal, &queries);
    if queries.is_empty() {
        report(
            terminal,
            "error: there are no queries to run: CREATE … AS SELECT, INSERT INTO … SELECT and \
             CREATE SINK make them",
        );
        return Exit::Failed;
    }
    let many = if queries.len() == 1 {
        "query"
    } else {
        "queries"
    };
    note(
        terminal,
        &format!("{} {many} running; SIGTERM or Ctrl-C ends", queries.len()),
    );
    loop {
        tokio::select! {
            _ = runner.signals().next() => {
                note(terminal, "stopping");
                return Exit::Done;
            }
            () = tokio::time::sleep(WATCH) => watch.report(terminal, &engine.queries()),
        }
    }
}

/// The state each query was last seen in.
#[derive(Debug, Default)]
struct Watch {
    seen: BTreeMap<String, (QueryState, Option<String>)>,
}

impl Watch {
    fn report(&mut self, terminal: &Terminal, queries: &[QueryInfo]) {
        for line in self.changes(queries) {
            note(terminal, &line);
        }
    }

    /// A line for each query whose state is another one than before.
    fn changes(&mut self, queries: &[QueryInfo]) -> Vec<String> {
        let now: BTreeMap<_, _> = queries
            .iter()
            .map(|query| (query.id.clone(), (query.state, query.error.clone())))
            .collect();
        let mut lines = Vec::new();
        for (id, state) in &now {
            if self.seen.get(id) != Some(state) {
                let (name, error) = (state.0.name(), &state.1);
                lines.push(match error {
                    Some(error) => format!("query {id}: {name}: {error}"),
                    None => format!("query {id}: {name}"),
                });
            }
        }
        let ended = self.seen.keys().filter(|id| !now.contains_key(*id));
        lines.extend(ended.map(|id| format!("query {id}: TERMINATED")));
        self.seen = now;
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(id: &str, state: QueryState, error: Option<&str>) -> QueryInfo {
        QueryInfo {
            id: id.to_owned(),
            state,
            error: error.map(str::to_owned),
            sink: String::new(),
            statement: String::new(),
            rows_in: 0,
            rows_out: 0,
            bad: 0,
            late: 0,
            lag: 0,
            memory: 0,
            epoch: 0,
            step_us: [0, 0],
        }
    }

    #[test]
    fn only_changes_are_told() {
        let mut watch = Watch::default();
        let running = query("CTAS_A_1", QueryState::Running, None);
        assert_eq!(
            watch.changes(std::slice::from_ref(&running)),
            ["query CTAS_A_1: RUNNING"]
        );
        assert!(watch.changes(&[running]).is_empty());
        let retrying = query("CTAS_A_1", QueryState::Retrying, Some("the broker is away"));
        assert_eq!(
            watch.changes(&[retrying]),
            ["query CTAS_A_1: RETRYING: the broker is away"]
        );
        assert_eq!(watch.changes(&[]), ["query CTAS_A_1: TERMINATED"]);
    }
}
