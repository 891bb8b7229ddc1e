//! Which of librdkafka's properties may be set, and by whom. A list of what is allowed: some of the
//! others load a library, run a command or read any file, so that whoever sets them owns the
//! process.
//!
//! Every property of the librdkafka version in use is classified; a test compares with its list.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;

use crate::distance::distance;
use crate::{Error, Result};

/// Who asks for a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Whoever runs Kappa: its configuration file and command line.
    Operator,
    /// Whoever may send it SQL.
    Statement,
}

/// Whether a property may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// By anyone.
    Open,
    /// By the operator: it names files of the server, or where to send credentials.
    Operator,
    /// By the operator, and its value is never shown.
    Secret,
    /// By Kappa alone: processing would no longer be exactly once, or hang, with another value.
    Managed,
    /// By nobody.
    Denied(&'static str),
}

/// Checked properties for a client of Kafka. Secret values do not show in `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties {
    values: BTreeMap<String, String>,
}

impl Properties {
    /// Checks properties one by one; the first that may not be set is a user error.
    pub fn try_new<K, V>(
        origin: Origin,
        properties: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self>
    where
        K: Into<String>,
        V: Into<String>,
    {
        let mut values = BTreeMap::new();
        for (name, value) in properties {
            let (name, value) = (name.into(), value.into());
            check(origin, &name, &value)?;
            values.insert(name, value);
        }
        Ok(Self { values })
    }

    /// Puts them into a client's configuration.
    pub(super) fn apply(&self, config: &mut ClientConfig, kind: Kind) {
        for (name, value) in &self.values {
            if kind.takes(name) {
                config.set(name, value);
            }
        }
    }

    /// Names and values, secrets hidden.
    pub fn shown(&self) -> impl Iterator<Item = (&str, &str)> {
        let shown = |name: &str| class(name).is_none_or(|class| class != Class::Secret);
        self.values.iter().map(move |(name, value)| {
            (
                name.as_str(),
                if shown(name) {
                    value.as_str()
                } else {
                    "(hidden)"
                },
            )
        })
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

/// What a client is for. librdkafka takes a property of the other kind, but complains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Consumer,
    Producer,
}

impl Kind {
    fn takes(self, name: &str) -> bool {
        match self {
            Self::Consumer => !PRODUCER.contains(&name),
            Self::Producer => !CONSUMER.contains(&name),
        }
    }
}

/// Whether a value is to be kept out of messages.
pub(super) fn is_secret(name: &str) -> bool {
    class(name) == Some(Class::Secret)
}

fn check(origin: Origin, name: &str, value: &str) -> Result<()> {
    let refuse = |why: &str| Err(Error::User(format!("Kafka property \"{name}\" {why}")));
    match class(name) {
        None => refuse(&format!("is not known{}", hint(name))),
        Some(Class::Denied(why)) => refuse(&format!("cannot be set: {why}")),
        Some(Class::Managed) => refuse("cannot be set: Kappa sets it itself"),
        Some(Class::Operator | Class::Secret) if origin == Origin::Statement => refuse(
            "cannot be set by a statement; set it in the configuration file or on the command line",
        ),
        Some(_) if name == "ssl.endpoint.identification.algorithm" && value != "https" => {
            refuse("can only be 'https': without it anyone could pose as the broker")
        }
        Some(_) if value.contains('\0') => refuse("has a value with a NUL character"),
        Some(_) => Ok(()),
    }
}

fn class(name: &str) -> Option<Class> {
    if CONSUMER.contains(&name) || PRODUCER.contains(&name) || OPEN.contains(&name) {
        return Some(Class::Open);
    }
    let in_list = |list: &[&str]| list.contains(&name);
    if in_list(OPERATOR) {
        return Some(Class::Operator);
    }
    if in_list(SECRET) {
        return Some(Class::Secret);
    }
    if in_list(MANAGED) {
        return Some(Class::Managed);
    }
    DENIED
        .iter()
        .find(|(_, names)| names.contains(&name))
        .map(|(why, _)| Class::Denied(why))
}

fn hint(name: &str) -> String {
    let known = || [CONSUMER, PRODUCER, OPEN, OPERATOR, SECRET].concat();
    let nearest = known()
        .into_iter()
        .map(|known| (distance(name, known), known))
        .min();
    match nearest {
        Some((distance, known)) if distance <= 3 => format!("; did you mean \"{known}\"?"),
        _ => String::new(),
    }
}

/// Of consumers, for anyone.
const CONSUMER: &[&str] = &[
    "check.crcs",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "max.partition.fetch.bytes",
    "queued.max.messages.kbytes",
    "queued.min.messages",
];

/// Of producers, for anyone.
const PRODUCER: &[&str] = &[
    "batch.num.messages",
    "batch.size",
    "compression.codec",
    "compression.level",
    "compression.type",
    "delivery.timeout.ms",
    "linger.ms",
    "message.timeout.ms",
    "queue.buffering.backpressure.threshold",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "request.timeout.ms",
    "sticky.partitioning.linger.ms",
    "transaction.timeout.ms",
];

/// Of both, for anyone.
const OPEN: &[&str] = &[
    "api.version.request.timeout.ms",
    "broker.address.family",
    "broker.address.ttl",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "connections.max.idle.ms",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.copy.max.bytes",
    "message.max.bytes",
    "metadata.max.age.ms",
    "metadata.recovery.rebootstrap.trigger.ms",
    "metadata.recovery.strategy",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.max.fails",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "topic.metadata.propagation.max.ms",
    "topic.metadata.refresh.fast.interval.ms",
    "topic.metadata.refresh.interval.ms",
    "topic.metadata.refresh.sparse",
];

const OPERATOR: &[&str] = &[
    "enable.metrics.push",
    "sasl.kerberos.principal",
    "sasl.kerberos.service.name",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.oauthbearer.assertion.algorithm",
    "sasl.oauthbearer.assertion.claim.aud",
    "sasl.oauthbearer.assertion.claim.exp.seconds",
    "sasl.oauthbearer.assertion.claim.iss",
    "sasl.oauthbearer.assertion.claim.jti.include",
    "sasl.oauthbearer.assertion.claim.nbf.seconds",
    "sasl.oauthbearer.assertion.claim.sub",
    "sasl.oauthbearer.client.credentials.client.id",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.extensions",
    "sasl.oauthbearer.grant.type",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.username",
    "security.protocol",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.curves.list",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.keystore.location",
    "ssl.sigalgs.list",
];

const SECRET: &[&str] = &[
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.password",
    "ssl.ca.pem",
    "ssl.certificate.pem",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
];

const MANAGED: &[&str] = &[
    "acks",
    "allow.auto.create.topics",
    "auto.commit.enable",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "bootstrap.servers",
    "coordinator.query.interval.ms",
    "delivery.report.only.error",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.protocol.type",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.poll.interval.ms",
    "message.send.max.retries",
    "metadata.broker.list",
    "msg_order_cmp",
    "partition.assignment.strategy",
    "partitioner",
    "produce.offset.report",
    "queuing.strategy",
    "request.required.acks",
    "retries",
    "session.timeout.ms",
    "statistics.interval.ms",
    "topic.metadata.refresh.fast.cnt",
    "transactional.id",
];

const DENIED: &[(&str, &[&str])] = &[
    (
        "it loads a library into the server",
        &[
            "plugin.library.paths",
            "ssl.engine.id",
            "ssl.engine.location",
            "ssl.providers",
        ],
    ),
    (
        "it runs a command on the server",
        &["sasl.kerberos.kinit.cmd"],
    ),
    (
        "it reads files of the server",
        &[
            "https.ca.location",
            "https.ca.pem",
            "sasl.kerberos.keytab",
            "sasl.kerberos.min.time.before.relogin",
            "sasl.oauthbearer.assertion.file",
            "sasl.oauthbearer.assertion.jwt.template.file",
            "sasl.oauthbearer.assertion.private.key.file",
            "sasl.oauthbearer.assertion.private.key.pem",
            "ssl.ca.certificate.stores",
        ],
    ),
    (
        "it asks the cloud for the server's own credentials",
        &["sasl.oauthbearer.metadata.authentication.type"],
    ),
    (
        "without it anyone could pose as the broker",
        &[
            "enable.sasl.oauthbearer.unsecure.jwt",
            "enable.ssl.certificate.verification",
        ],
    ),
    ("it writes contents and secrets to the log", &["debug"]),
    (
        "offsets are kept in Kappa's data directory",
        &[
            "offset.store.method",
            "offset.store.path",
            "offset.store.sync.interval.ms",
        ],
    ),
    (
        "it is of no use here",
        &[
            "api.version.fallback.ms",
            "api.version.request",
            "broker.version.fallback",
            "builtin.features",
            "consume.callback.max.messages",
            "enable.random.seed",
            "enabled_events",
            "internal.termination.signal",
            "log.connection.close",
            "log.queue",
            "log.thread.name",
            "log_level",
            "reconnect.backoff.jitter.ms",
            "socket.blocking.max.ms",
            "topic.blacklist",
            "test.mock.broker.rtt",
            "test.mock.num.brokers",
        ],
    ),
    (
        "it is set by programs, not by name",
        &[
            "background_event_cb",
            "closesocket_cb",
            "connect_cb",
            "consume_cb",
            "default_topic_conf",
            "dr_cb",
            "dr_msg_cb",
            "error_cb",
            "interceptors",
            "log_cb",
            "oauthbearer_token_refresh_cb",
            "offset_commit_cb",
            "opaque",
            "open_cb",
            "partitioner_cb",
            "rebalance_cb",
            "resolve_cb",
            "socket_cb",
            "ssl.certificate.verify_cb",
            "ssl_ca",
            "ssl_certificate",
            "ssl_engine_callback_data",
            "ssl_key",
            "stats_cb",
            "throttle_cb",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use super::*;

    fn refusal(origin: Origin, name: &str, value: &str) -> String {
        Properties::try_new(origin, [(name, value)])
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn what_owns_the_process_is_refused_to_everyone() {
        for name in [
            "plugin.library.paths",
            "ssl.engine.location",
            "ssl.providers",
        ] {
            assert!(refusal(Origin::Operator, name, "/x.so").contains("loads a library"));
        }
        let message = refusal(Origin::Operator, "sasl.kerberos.kinit.cmd", "rm -rf /");
        assert!(
            message.contains("runs a command") && !message.contains("rm"),
            "{message}"
        );
        let name = "enable.ssl.certificate.verification";
        assert!(refusal(Origin::Operator, name, "false").contains("pose as the broker"));
        let name = "ssl.endpoint.identification.algorithm";
        assert!(refusal(Origin::Operator, name, "none").contains("'https'"));
        assert!(Properties::try_new(Origin::Operator, [(name, "https")]).is_ok());
        assert!(refusal(Origin::Operator, "test.mock.num.brokers", "3").contains("no use"));
        assert!(refusal(Origin::Operator, "acks", "0").contains("Kappa sets it itself"));
        assert!(refusal(Origin::Operator, "client.id", "a\0b").contains("NUL"));
    }

    #[test]
    fn statements_may_tune_but_not_reach_files_or_credentials() {
        for name in [
            "ssl.ca.location",
            "sasl.password",
            "sasl.oauthbearer.token.endpoint.url",
        ] {
            let message = refusal(Origin::Statement, name, "canary");
            assert!(message.contains("by a statement") && !message.contains("canary"));
            assert!(Properties::try_new(Origin::Operator, [(name, "canary")]).is_ok());
        }
        assert!(Properties::try_new(Origin::Statement, [("linger.ms", "5")]).is_ok());
        for list in [OPEN, CONSUMER, PRODUCER] {
            for name in list {
                for part in ["location", "file", "pem", "url", "cmd", "path", "password"] {
                    assert!(!name.contains(part), "{name} is open to statements");
                }
            }
        }
    }

    #[test]
    fn a_slip_gets_a_hint() {
        let message = refusal(Origin::Operator, "sasl.pasword", "x");
        assert!(
            message.contains("not known; did you mean \"sasl.password\"?"),
            "{message}"
        );
        assert!(!refusal(Origin::Operator, "nonsense", "x").contains("did you mean"));
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn secrets_do_not_show() {
        let secrets = SECRET.iter().map(|name| (*name, "canary"));
        let properties =
            Properties::try_new(Origin::Operator, secrets.chain([("client.id", "kappa")])).unwrap();
        let shown = format!("{properties:?}");
        assert!(
            !shown.contains("canary") && shown.contains("\"client.id\": \"kappa\""),
            "{shown}"
        );
    }

    #[test]
    fn consumers_and_producers_get_their_own() {
        let all = [
            ("linger.ms", "5"),
            ("fetch.min.bytes", "1"),
            ("client.id", "k"),
        ];
        let properties = Properties::try_new(Origin::Statement, all).unwrap();
        for (kind, foreign) in [
            (Kind::Consumer, "linger.ms"),
            (Kind::Producer, "fetch.min.bytes"),
        ] {
            let mut config = ClientConfig::new();
            properties.apply(&mut config, kind);
            assert_eq!(config.config_map().len(), 2);
            assert!(config.get(foreign).is_none());
            config.create_native_config().unwrap();
        }
    }

    /// A property that a new librdkafka brings has to be thought about.
    #[test]
    fn every_property_is_classified_once() {
        let mut seen = BTreeSet::new();
        let denied = DENIED.iter().flat_map(|(_, names)| names.iter());
        let lists = [CONSUMER, PRODUCER, OPEN, OPERATOR, SECRET, MANAGED];
        for name in lists.iter().flat_map(|list| list.iter()).chain(denied) {
            assert!(seen.insert(*name), "{name} stands twice");
        }
        let Some(path) = configuration_md() else {
            return;
        };
        let text = std::fs::read_to_string(&path).unwrap();
        let table = text.lines().filter(|line| line.contains("| "));
        let names = table.filter_map(|line| line.split('|').next().map(str::trim));
        let names: BTreeSet<_> = names
            .filter(|name| name.starts_with(char::is_lowercase))
            .collect();
        assert!(names.len() > 150, "{} in {}", names.len(), path.display());
        let unclassified: Vec<_> = names.iter().filter(|name| class(name).is_none()).collect();
        assert!(unclassified.is_empty(), "{unclassified:?}");
    }

    /// librdkafka's list of properties, where cargo keeps the sources.
    fn configuration_md() -> Option<PathBuf> {
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home =
            home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
        let registries = std::fs::read_dir(home.join("registry/src")).ok()?;
        let crates = registries.flat_map(|dir| std::fs::read_dir(dir.unwrap().path()).unwrap());
        let mut found: Vec<_> = crates
            .map(|dir| dir.unwrap().path())
            .filter(|dir| {
                dir.file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with("rdkafka-sys-")
            })
            .map(|dir| dir.join("librdkafka/CONFIGURATION.md"))
            .collect();
        found.sort();
        found.pop()
    }
}
