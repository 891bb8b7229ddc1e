//! What can be asked of a sink's task, or a writer's.

use tokio::sync::{mpsc, oneshot};

use super::departure::Departure;
use crate::error::Result;

pub(crate) enum Command {
    /// Work off all that is there; the answer says how that went.
    Flush(oneshot::Sender<Result<()>>),
    /// Make units of everything, for a sink that takes no more; the answer says up to where that is.
    Depart(oneshot::Sender<Option<Departure>>),
    Pause,
    /// Go on, or try again what failed for good.
    Resume,
    Stop,
}

/// The way to a task.
#[derive(Clone, Debug)]
pub(crate) struct Commands(mpsc::Sender<Command>);

impl Commands {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Command>) {
        let (sender, receiver) = mpsc::channel(16);
        (Self(sender), receiver)
    }

    /// Asks. A task that has ended has nothing left to do.
    pub(crate) async fn send(&self, command: Command) {
        drop(self.0.send(command).await);
    }

    /// Asks for a flush, and waits for it.
    pub(crate) async fn flush(self) -> Result<()> {
        let (sender, receiver) = oneshot::channel();
        self.send(Command::Flush(sender)).await;
        receiver.await.unwrap_or(Ok(()))
    }

    /// Asks a writer up to where a sink has to take units that takes no more than there are.
    pub(crate) async fn depart(&self) -> Option<Departure> {
        let (sender, receiver) = oneshot::channel();
        self.send(Command::Depart(sender)).await;
        receiver.await.unwrap_or(None)
    }
}
