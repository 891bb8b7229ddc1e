//! What is to be done after an error of a transactional producer. Pure, so that every case can be
//! looked at.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// What an error of a transactional producer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The same call again: nothing is decided yet.
    Retry,
    /// A new producer, and the rows again: this transaction is aborted, or its end is unknown, which
    /// the marker then tells.
    Again,
    /// Nobody answered for so long that the broker aborted the transaction: as [`Self::Again`].
    TimedOut,
    /// Nothing until somebody changes something: what was asked for is not allowed or cannot be.
    Refused,
    /// Nothing: another producer has the transactional id.
    Fenced,
}

/// What librdkafka says of an error.
#[derive(Clone, Copy, Debug)]
struct Traits {
    code: Option<Code>,
    fatal: bool,
    retriable: bool,
    requires_abort: bool,
}

impl Verdict {
    /// `timed_out`: whether the transaction is older than its timeout, so that being fenced may
    /// mean the broker's own abort.
    pub(super) fn of(error: &KafkaError, timed_out: bool) -> Self {
        let traits = match error {
            KafkaError::Transaction(error) => Traits {
                code: Some(error.code()),
                fatal: error.is_fatal(),
                retriable: error.is_retriable(),
                requires_abort: error.txn_requires_abort(),
            },
            error => Traits {
                code: error.rdkafka_error_code(),
                fatal: false,
                retriable: false,
                requires_abort: false,
            },
        };
        Self::judge(traits, timed_out)
    }

    fn judge(error: Traits, timed_out: bool) -> Self {
        let fenced = matches!(
            error.code,
            Some(
                Code::Fenced
                    | Code::ProducerFenced
                    | Code::InvalidProducerEpoch
                    | Code::TransactionCoordinatorFenced
            )
        );
        let refused = matches!(
            error.code,
            Some(
                Code::TopicAuthorizationFailed
                    | Code::GroupAuthorizationFailed
                    | Code::ClusterAuthorizationFailed
                    | Code::TransactionalIdAuthorizationFailed
                    | Code::Authentication
                    | Code::SaslAuthenticationFailed
                    | Code::SSL
                    | Code::UnsupportedVersion
                    | Code::UnsupportedFeature
                    | Code::InvalidTransactionTimeout
                    | Code::InvalidTopic
                    | Code::InvalidRecord
                    | Code::InvalidTimestamp
                    | Code::MessageSizeTooLarge
                    | Code::OffsetMetadataTooLarge
                    | Code::UnknownTopicOrPartition
                    | Code::UnknownTopic
                    | Code::UnknownPartition
            )
        );
        if fenced && timed_out {
            Self::TimedOut
        } else if fenced {
            Self::Fenced
        } else if refused {
            Self::Refused
        } else if error.retriable && !error.fatal && !error.requires_abort {
            Self::Retry
        } else {
            Self::Again
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traits(code: Code, flags: &str) -> Traits {
        let has = |flag| flags.contains(flag);
        Traits {
            code: Some(code),
            fatal: has("fatal"),
            retriable: has("retriable"),
            requires_abort: has("abort"),
        }
    }

    #[test]
    fn every_kind_of_error_has_its_answer() {
        let cases = [
            (Code::OperationTimedOut, "retriable", Verdict::Retry),
            (Code::CoordinatorNotAvailable, "retriable", Verdict::Retry),
            (Code::ConcurrentTransactions, "retriable", Verdict::Retry),
            (Code::UnstableOffsetCommit, "retriable", Verdict::Retry),
            (Code::OperationTimedOut, "retriable abort", Verdict::Again),
            (Code::MessageTimedOut, "abort", Verdict::Again),
            (Code::OutOfOrderSequenceNumber, "abort", Verdict::Again),
            (Code::InvalidTransactionalState, "", Verdict::Again),
            (Code::UnknownProducerId, "fatal", Verdict::Again),
            (Code::State, "", Verdict::Again),
            (Code::Fenced, "fatal", Verdict::Fenced),
            (Code::ProducerFenced, "fatal", Verdict::Fenced),
            (Code::InvalidProducerEpoch, "abort", Verdict::Fenced),
            (Code::TopicAuthorizationFailed, "abort", Verdict::Refused),
            (
                Code::TransactionalIdAuthorizationFailed,
                "fatal",
                Verdict::Refused,
            ),
            (Code::MessageSizeTooLarge, "", Verdict::Refused),
        ];
        for (code, flags, expected) in cases {
            assert_eq!(
                Verdict::judge(traits(code, flags), false),
                expected,
                "{code:?} {flags}"
            );
        }
    }

    #[test]
    fn after_the_timeout_fenced_may_be_the_brokers_abort() {
        assert_eq!(
            Verdict::judge(traits(Code::Fenced, "fatal"), true),
            Verdict::TimedOut
        );
        assert_eq!(
            Verdict::judge(traits(Code::MessageTimedOut, "abort"), true),
            Verdict::Again
        );
    }

    /// `commit_transaction` flushes first and reports that in a way that has no traits.
    #[test]
    fn a_failed_flush_means_again() {
        let error = KafkaError::Flush(Code::OperationTimedOut);
        assert_eq!(Verdict::of(&error, false), Verdict::Again);
    }
}
