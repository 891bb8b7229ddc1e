//! Ctrl-C, SIGTERM and SIGHUP as values to wait for.
//!
//! One task listens; everybody else holds a [`Signals`] of their own. The line editor cannot wait
//! for a future: it looks at a flag ([`Signals::leave_flag`]). While it reads, Ctrl-C is a key and not a
//! signal.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::exit::Exit;

/// What was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Ctrl-C: end what is being done.
    Interrupt,
    /// SIGTERM, or the terminal was closed: end the program.
    Terminate,
}

impl Event {
    /// The exit code of a program that ends because of it.
    pub(crate) fn exit(self) -> Exit {
        match self {
            Self::Interrupt => Exit::Interrupted,
            Self::Terminate => Exit::Terminated,
        }
    }
}

/// Signals received so far.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    interrupts: u64,
    terminate: bool,
}

/// One listener's view of the signals: what came before it looked is not shown again.
#[derive(Clone, Debug)]
pub(crate) struct Signals {
    seen: watch::Receiver<Seen>,
    handled: u64,
    leave: Arc<AtomicBool>,
}

impl Signals {
    /// Starts listening. From now on no such signal ends the process by itself.
    ///
    /// # Errors
    /// The operating system refuses.
    pub(crate) fn install() -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let (sender, seen) = watch::channel(Seen::default());
        let leave = Arc::new(AtomicBool::new(false));
        let flag = leave.clone();
        tokio::spawn(async move {
            loop {
                let event = tokio::select! {
                    Some(()) = interrupt.recv() => Event::Interrupt,
                    Some(()) = terminate.recv() => Event::Terminate,
                    Some(()) = hangup.recv() => Event::Terminate,
                    else => return,
                };
                sender.send_modify(|seen| match event {
                    Event::Interrupt => seen.interrupts += 1,
                    Event::Terminate => seen.terminate = true,
                });
                if event == Event::Terminate {
                    flag.store(true, Ordering::Relaxed);
                }
            }
        });
        Ok(Self {
            seen,
            handled: 0,
            leave,
        })
    }

    /// Waits for the next one. SIGTERM is never over: it is returned again and again.
    pub(crate) async fn next(&mut self) -> Event {
        loop {
            let seen = *self.seen.borrow_and_update();
            if seen.terminate {
                return Event::Terminate;
            }
            if seen.interrupts > self.handled {
                self.handled = seen.interrupts;
                return Event::Interrupt;
            }
            if self.seen.changed().await.is_err() {
                // The runtime is being shut down and nothing will come.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits for SIGTERM or SIGHUP.
    pub(crate) async fn terminate(&mut self) {
        if self.seen.wait_for(|seen| seen.terminate).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for a Ctrl-C that comes from now on, whatever came before.
    pub(crate) async fn next_interrupt(&mut self) {
        self.forget();
        loop {
            let interrupts = self.seen.borrow_and_update().interrupts;
            if interrupts > self.handled {
                self.handled = interrupts;
                return;
            }
            if self.seen.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Takes a Ctrl-C that came while nothing was being done for done.
    pub(crate) fn forget(&mut self) {
        self.handled = self.seen.borrow().interrupts;
    }

    /// Set when the program is to end, for the line editor.
    pub(crate) fn leave_flag(&self) -> Arc<AtomicBool> {
        self.leave.clone()
    }
}
