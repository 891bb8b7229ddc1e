//! The properties that SET, the command line and a configuration file can give.

use std::collections::BTreeMap;

use kappa_sql::planner::Defaults;

use crate::error::{Error, Result};

/// A property that can be set.
#[derive(Clone, Copy, Debug)]
pub struct Property {
    /// Its name.
    pub name: &'static str,
    /// Its value unless it is set.
    pub default: &'static str,
    /// What it does, and what values it takes.
    pub help: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    OneOf(&'static [&'static str]),
    Int { least: i64, most: i64 },
    Bool,
    Text,
}

/// All properties.
pub const PROPERTIES: &[Property] = &[
    Property {
        name: "auto.offset.reset",
        default: "earliest",
        help: "where a new query starts reading: earliest or latest",
        kind: Kind::OneOf(&["earliest", "latest"]),
    },
    Property {
        name: "commit.interval.ms",
        default: "1000",
        help: "how long results may wait for their commit, in milliseconds",
        kind: Kind::Int {
            least: 1,
            most: 3_600_000,
        },
    },
    Property {
        name: "ksql.output.topic.name.prefix",
        default: "",
        help: "put before the topic names of CREATE … AS SELECT",
        kind: Kind::Text,
    },
    Property {
        name: "ksql.persistence.default.format.key",
        default: "KAFKA",
        help: "key format where a statement names none",
        kind: Kind::Text,
    },
    Property {
        name: "ksql.persistence.default.format.value",
        default: "",
        help: "value format where a statement names none; empty: it must name one",
        kind: Kind::Text,
    },
    Property {
        name: "ksql.persistence.wrap.single.values",
        default: "true",
        help: "whether a single value column is written inside an object: true or false",
        kind: Kind::Bool,
    },
    Property {
        name: "processing.guarantee",
        default: "exactly_once",
        help: "exactly_once, or at_least_once",
        kind: Kind::OneOf(&["exactly_once", "at_least_once", "exactly_once_v2"]),
    },
    Property {
        name: "query.workers",
        default: "0",
        help: "threads that read and decode beside the queries' own; 1: none, 0: one for each processor",
        kind: Kind::Int {
            least: 0,
            most: 256,
        },
    },
    Property {
        name: "state.memory.mb",
        default: "256",
        help: "memory for a query's state before it goes to disk, in MiB",
        kind: Kind::Int {
            least: 1,
            most: 1_048_576,
        },
    },
    Property {
        name: "step.max.rows",
        default: "1000000",
        help: "most rows of one step; 1 emits every change",
        kind: Kind::Int {
            least: 1,
            most: 10_000_000,
        },
    },
];

/// Properties with their values, defaults where not set.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Properties(BTreeMap<String, String>);

impl Properties {
    /// Sets a property. A prefix `ksql.streams.` is understood: ksqlDB passes such names on.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let name = name.strip_prefix("ksql.streams.").unwrap_or(name);
        if IGNORED.contains(&name) {
            return Ok(());
        }
        let property = find(name)?;
        property.check(value)?;
        self.0.insert(property.name.to_owned(), value.to_owned());
        Ok(())
    }

    /// Gives a property its default again.
    pub(crate) fn unset(&mut self, name: &str) -> Result<()> {
        let name = name.strip_prefix("ksql.streams.").unwrap_or(name);
        self.0.remove(find(name)?.name);
        Ok(())
    }

    /// A property's value.
    pub(crate) fn get(&self, name: &str) -> &str {
        match self.0.get(name) {
            Some(value) => value,
            None => PROPERTIES
                .iter()
                .find(|p| p.name == name)
                .map_or("", |p| p.default),
        }
    }

    /// Whether it was set.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A whole number. Values were checked when they were set.
    pub(crate) fn int(&self, name: &str) -> i64 {
        self.get(name).parse().unwrap_or(0)
    }

    /// What the planner needs to know.
    pub(crate) fn defaults(&self) -> Defaults {
        let text = |name: &str| Some(self.get(name).to_owned()).filter(|text| !text.is_empty());
        Defaults {
            key_format: text("ksql.persistence.default.format.key"),
            value_format: text("ksql.persistence.default.format.value"),
            wrap_single_values: Some(
                self.get("ksql.persistence.wrap.single.values")
                    .eq_ignore_ascii_case("true"),
            ),
            topic_prefix: self.get("ksql.output.topic.name.prefix").to_owned(),
        }
    }
}

/// ksqlDB's properties that have no meaning here, accepted so that its scripts run.
const IGNORED: [&str; 12] = [
    "__emit.interval.ms.kstreams.windowed.aggregation__",
    "topology.optimization",
    "ksql.sink.partitions",
    "ksql.sink.replicas",
    "ksql.windowed.session.key.legacy",
    "ksql.query.pull.limit.clause.enabled",
    "ksql.new.query.planner.enabled",
    "ksql.query.pull.table.scan.enabled",
    "ksql.query.pull.range.scan.enabled",
    "ksql.query.pull.stream.enabled",
    "cache.max.bytes.buffering",
    "num.stream.threads",
];

fn find(name: &str) -> Result<&'static Property> {
    PROPERTIES
        .iter()
        .find(|property| property.name == name)
        .ok_or_else(|| {
            let hint = match kappa_sql::error::suggest(name, PROPERTIES.iter().map(|p| p.name)) {
                Some(close) => format!("did you mean '{close}'?"),
                None => "SHOW PROPERTIES lists them".to_owned(),
            };
            Error::User(format!("there is no property '{name}': {hint}"))
        })
}

impl Property {
    fn check(&self, value: &str) -> Result<()> {
        let fits = match self.kind {
            Kind::Text => true,
            Kind::Bool => value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false"),
            Kind::OneOf(values) => values.contains(&value),
            Kind::Int { least, most } => value
                .parse::<i64>()
                .is_ok_and(|value| (least..=most).contains(&value)),
        };
        if fits {
            return Ok(());
        }
        let wanted = match self.kind {
            Kind::Text => "text".to_owned(),
            Kind::Bool => "true or false".to_owned(),
            Kind::OneOf(values) => format!("one of {}", values.join(", ")),
            Kind::Int { least, most } => format!("a whole number from {least} to {most}"),
        };
        Err(Error::User(format!(
            "the property '{}' takes {wanted}, not '{value}'",
            self.name
        )))
    }
}
