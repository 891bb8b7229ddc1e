//! What librdkafka tells its clients: errors of connections, and which records were delivered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::{ClientContext, Statistics};
use tokio::sync::Notify;

/// How a client's connections are doing.
#[derive(Debug, Default)]
pub(super) struct Health {
    last: Mutex<Option<(Code, String)>>,
    all_down: AtomicBool,
    troubles: AtomicU64,
    broker_troubles: AtomicU64,
}

impl Health {
    fn note(&self, error: &KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else {
            return;
        };
        self.troubles.fetch_add(1, Ordering::Relaxed);
        if code == Code::AllBrokersDown {
            // Says nothing of the cause, which was reported before.
            self.all_down.store(true, Ordering::Relaxed);
            return;
        }
        *self.last.lock() = Some((code, reason.to_owned()));
    }

    /// What was said last, for people.
    pub(super) fn last_reason(&self) -> Option<String> {
        self.last.lock().as_ref().map(|(_, reason)| reason.clone())
    }

    /// An error that no waiting will cure, if the last one was, since this was last asked.
    pub(super) fn take_refused(&self) -> Option<Code> {
        let mut last = self.last.lock();
        let (code, _) = last.as_ref()?;
        let refused = matches!(
            code,
            Code::Authentication
                | Code::SaslAuthenticationFailed
                | Code::UnsupportedSASLMechanism
                | Code::SSL
        );
        let code = *code;
        if refused {
            // The reason stays, for people.
            if let Some((code, _)) = last.as_mut() {
                *code = Code::BrokerTransportFailure;
            }
        }
        refused.then_some(code)
    }

    /// Whether no broker could be reached, since this was last asked.
    pub(super) fn take_all_down(&self) -> bool {
        self.all_down.swap(false, Ordering::Relaxed)
    }

    /// Goes up with every error of a connection, and with every request that had no answer in time.
    pub(super) fn troubles(&self) -> u64 {
        self.troubles.load(Ordering::Relaxed) + self.broker_troubles.load(Ordering::Relaxed)
    }
}

/// Of consumers and of the admin client.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadContext {
    pub(super) health: Arc<Health>,
}

impl ClientContext for ReadContext {
    fn error(&self, error: KafkaError, reason: &str) {
        self.health.note(&error, reason);
    }
}

impl ConsumerContext for ReadContext {}

/// Of producers.
#[derive(Clone, Debug, Default)]
pub(super) struct WriteContext {
    pub(super) health: Arc<Health>,
}

impl ClientContext for WriteContext {
    fn error(&self, error: KafkaError, reason: &str) {
        self.health.note(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let brokers = statistics.brokers.values();
        let troubles = brokers.map(|broker| {
            broker.req_timeouts + u64::try_from(broker.disconnects.unwrap_or(0)).unwrap_or(0)
        });
        self.health
            .broker_troubles
            .store(troubles.sum(), Ordering::Relaxed);
    }
}

impl ProducerContext for WriteContext {
    type DeliveryOpaque = Arc<Delivery>;

    fn delivery(&self, result: &DeliveryResult<'_>, delivery: Arc<Delivery>) {
        match result {
            Ok(_) => delivery.report(None),
            Err((error, message)) => {
                let partition = rdkafka::Message::partition(message);
                delivery.report(Some((error.clone(), partition)));
            }
        }
    }
}

/// How far the delivery of some records has come.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    pending: AtomicUsize,
    delivered: AtomicUsize,
    failed: Mutex<Option<(KafkaError, i32)>>,
    done: Notify,
}

impl Delivery {
    /// One more record is on its way.
    pub(super) fn sent(&self) {
        self.pending.fetch_add(1, Ordering::AcqRel);
    }

    /// The last record was not sent after all.
    pub(super) fn unsent(&self) {
        self.pending.fetch_sub(1, Ordering::AcqRel);
    }

    fn report(&self, failed: Option<(KafkaError, i32)>) {
        match failed {
            None => {
                self.delivered.fetch_add(1, Ordering::AcqRel);
            }
            Some(failed) => {
                self.failed.lock().get_or_insert(failed);
            }
        }
        if self.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }

    /// Records whose delivery is certain.
    pub(super) fn delivered(&self) -> usize {
        self.delivered.load(Ordering::Acquire)
    }

    /// The first failure and its partition.
    pub(super) fn failed(&self) -> Option<(KafkaError, i32)> {
        self.failed.lock().clone()
    }

    /// Waits until the fate of all records is known.
    pub(super) async fn wait(&self) {
        while self.pending.load(Ordering::Acquire) > 0 {
            self.done.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_tells_trouble_from_refusal() {
        let health = Health::default();
        health.note(
            &KafkaError::Global(Code::BrokerTransportFailure),
            "connection refused",
        );
        assert_eq!(health.take_refused(), None);
        health.note(
            &KafkaError::Global(Code::AllBrokersDown),
            "1/1 brokers are down",
        );
        assert_eq!(health.last_reason().as_deref(), Some("connection refused"));
        assert!(health.take_all_down());
        assert!(!health.take_all_down());
        assert_eq!(health.troubles(), 2);
        health.note(&KafkaError::Global(Code::Authentication), "wrong password");
        assert_eq!(health.take_refused(), Some(Code::Authentication));
        assert_eq!(health.take_refused(), None);
        assert_eq!(health.last_reason().as_deref(), Some("wrong password"));
    }

    #[tokio::test]
    async fn a_delivery_is_known_when_all_records_are() {
        let delivery = Arc::new(Delivery::default());
        delivery.wait().await;
        for _ in 0..3 {
            delivery.sent();
        }
        delivery.unsent();
        let waiting = tokio::time::timeout(std::time::Duration::from_secs(9), delivery.wait());
        let report = async {
            delivery.report(None);
            let error = KafkaError::MessageProduction(Code::MessageTimedOut);
            delivery.report(Some((error, 3)));
        };
        let (waited, ()) = tokio::join!(waiting, report);
        waited.unwrap();
        assert_eq!(delivery.delivered(), 1);
        assert_eq!(delivery.failed().unwrap().1, 3);
    }
}
