//! What Kafka's errors mean here: whose they are, and whether trying again may help.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::properties::is_secret;
use crate::Error;

/// An error of a call that tried `what`, against `servers`; `cause` is what the client last said of
/// its connections, if anything.
pub(super) fn error(
    what: impl Into<String>,
    error: &KafkaError,
    servers: &str,
    cause: Option<String>,
) -> Error {
    let what = what.into();
    if let KafkaError::ClientConfig(_, description, name, _) = error {
        let shown = if is_secret(name) {
            "its value is not accepted"
        } else {
            description
        };
        return Error::User(format!("Kafka property \"{name}\": {shown}"));
    }
    let code = error.rdkafka_error_code();
    let said = code.map_or_else(|| error.to_string(), |code| code.to_string());
    let cause = cause.map(|cause| format!(" ({cause})")).unwrap_or_default();
    match code {
        Some(code) if is_retryable(code) => {
            Error::retryable(what, format!("{said}{cause}; broker: {servers}"))
        }
        Some(code) if is_users(code) => Error::User(format!("{what}: {said}{}", remedy(code))),
        Some(code) => Error::external(what, format!("{said}{cause}{}", remedy(code))),
        None => Error::external(what, format!("{said}{cause}")),
    }
}

/// Whether the same call may succeed later without anybody changing anything.
pub(super) fn is_retryable(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::Resolve
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::MessageTimedOut
            | Code::QueueFull
            | Code::TimedOutQueue
            | Code::WaitingForCoordinator
            | Code::WaitCache
            | Code::Retry
            | Code::PurgeQueue
            | Code::PurgeInflight
            | Code::OffsetNotAvailable
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::RequestTimedOut
            | Code::BrokerNotAvailable
            | Code::ReplicaNotAvailable
            | Code::NetworkException
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
            | Code::NotController
            | Code::ConcurrentTransactions
            | Code::KafkaStorageError
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::StaleBrokerEpoch
            | Code::PreferredLeaderNotAvailable
            | Code::UnstableOffsetCommit
            | Code::ThrottlingQuotaExceeded
    )
}

/// Whether what was asked for cannot be, rather than the broker being unable.
fn is_users(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidTopic
            | Code::InvalidPartitions
            | Code::InvalidReplicationFactor
            | Code::InvalidConfig
            | Code::InvalidTimestamp
            | Code::PolicyViolation
            | Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::InvalidRecord
            | Code::UnknownPartition
    )
}

fn remedy(code: Code) -> &'static str {
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => {
            "; raise the topic's max.message.bytes or make the records smaller"
        }
        Code::InvalidTimestamp => {
            "; the broker takes only times within message.timestamp.before.max.ms and \
             message.timestamp.after.max.ms of its clock"
        }
        Code::InvalidReplicationFactor => "; there are not as many brokers as replicas",
        Code::InvalidRecord => "; a compacted topic takes no record without a key",
        Code::TopicAuthorizationFailed => "; the user needs an ACL for this topic",
        Code::GroupAuthorizationFailed => "; the user needs an ACL for this consumer group",
        Code::TransactionalIdAuthorizationFailed => {
            "; the user needs an ACL for this transactional id"
        }
        Code::ClusterAuthorizationFailed => "; the user needs an ACL for the cluster",
        Code::Authentication | Code::SaslAuthenticationFailed => {
            "; check sasl.mechanism, sasl.username and sasl.password"
        }
        Code::SSL => "; check security.protocol and the ssl.* properties",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_sorted_by_who_can_act() {
        let sorted = |code| error("do it", &KafkaError::Global(code), "host:1", None);
        let away = sorted(Code::BrokerTransportFailure);
        assert!(away.is_retryable());
        assert!(away.to_string().contains("host:1"), "{away}");
        assert!(matches!(
            sorted(Code::InvalidReplicationFactor),
            Error::User(_)
        ));
        let denied = sorted(Code::TopicAuthorizationFailed);
        assert!(
            matches!(
                denied,
                Error::External {
                    retryable: false,
                    ..
                }
            ),
            "{denied:?}"
        );
        assert!(denied.to_string().contains("needs an ACL"), "{denied}");
    }

    #[test]
    fn the_value_of_a_secret_is_not_repeated() {
        let mut config = rdkafka::ClientConfig::new();
        config.set("acks", "canary");
        let refused = config.create_native_config().err().unwrap();
        let message = error("x", &refused, "host:1", None).to_string();
        assert!(message.contains("\"acks\""), "{message}");
        config.remove("acks");
        config
            .set("ssl.key.pem", "canary\u{1}")
            .set("sasl.mechanism", "PLAIN");
        if let Some(refused) = config.create_native_config().err() {
            let message = error("x", &refused, "host:1", None).to_string();
            assert!(!message.contains("canary"), "{message}");
        }
    }
}
