//! CREATE, DROP and ALTER.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::statement::StatementParser;
use super::tokens::Tokens;
use crate::ast::{ColumnDef, DropKind, Kind, Role, SinkInput, Statement};
use crate::error::{Error, Result};
use crate::types::{SqlType, parse_type};

const CREATABLE: &[&str] = &["STREAM", "TABLE", "SINK", "TYPE"];

impl StatementParser<'_> {
    pub(super) fn create(&mut self) -> Result<Statement> {
        self.skip();
        let or_replace = self.take_words(&["OR", "REPLACE"]);
        let source_only = self.take_words(&["SOURCE"]);
        if let Some(kind) = self.kind() {
            return self.create_source(or_replace.is_some(), source_only.is_some(), kind);
        }
        if let Some(span) = source_only
            && !self.at_words(&["CONNECTOR"])
        {
            let error = self.wanted_one_of(&["STREAM", "TABLE"], " after SOURCE");
            return Err(error.or_at(span));
        }
        if let Some(span) = or_replace {
            if matches!(self.word(), Some("SINK" | "TYPE")) {
                return Err(Error::unsupported("OR REPLACE is for streams and tables")
                    .at(span)
                    .hint("DROP the old one first"));
            }
            return Err(self.wanted_one_of(&["STREAM", "TABLE"], ""));
        }
        match self.word() {
            Some("SINK") if self.word_at(1) == Some("CONNECTOR") => Err(self.no_connectors()),
            Some("SINK") => self.create_sink(),
            Some("TYPE") => self.create_type(),
            Some("CONNECTOR") => Err(self.no_connectors()),
            Some("VIEW" | "MATERIALIZED") => Err(self
                .wanted_one_of(CREATABLE, " after CREATE")
                .hint("a view is a table here: CREATE TABLE … AS SELECT …")),
            _ => Err(self.wanted_one_of(CREATABLE, " after CREATE")),
        }
    }

    fn no_connectors(&self) -> Error {
        Error::unsupported("connectors of Kafka Connect are not supported")
            .at(self.span())
            .hint("CREATE SINK writes to files and other systems")
    }

    /// STREAM or TABLE.
    pub(super) fn kind(&mut self) -> Option<Kind> {
        let kind = match self.word() {
            Some("STREAM") => Kind::Stream,
            Some("TABLE") => Kind::Table,
            _ => return None,
        };
        self.skip();
        Some(kind)
    }

    fn create_source(
        &mut self,
        or_replace: bool,
        source_only: bool,
        kind: Kind,
    ) -> Result<Statement> {
        let if_not_exists = self.if_not_exists();
        let name = self.name(&format!("the name of the {}", kind.word()))?;
        let with_columns = self.span();
        let columns = if *self.token_at_offset(0) == Token::LParen {
            self.columns()?
        } else {
            Vec::new()
        };
        let with = self.with()?;
        if !self.eat_word("AS") {
            if columns.is_empty() && with.is_empty() {
                return Err(self.wanted("columns, WITH or AS"));
            }
            return Ok(Statement::CreateSource {
                or_replace,
                source_only,
                kind,
                if_not_exists,
                name,
                columns,
                with,
            });
        }
        if !columns.is_empty() {
            return Err(Error::invalid("columns come from the query after AS")
                .at(with_columns)
                .hint("name them there: SELECT a AS b"));
        }
        if source_only {
            return Err(
                Error::invalid("a SOURCE is read only: it cannot be filled by a query")
                    .at(self.last_span()),
            );
        }
        let query = self.query()?;
        Ok(Statement::CreateAs {
            or_replace,
            kind,
            if_not_exists,
            name,
            with,
            query,
        })
    }

    /// `(name type [KEY], …)`
    fn columns(&mut self) -> Result<Vec<ColumnDef>> {
        self.expect(&Token::LParen)?;
        let mut columns: Vec<ColumnDef> = Vec::new();
        loop {
            let column = self.column()?;
            if columns.iter().any(|other| other.name == column.name) {
                let twice = format!("the column \"{}\" is there twice", column.name);
                return Err(Error::invalid(twice).at(column.name.span));
            }
            columns.push(column);
            if !self.eat(&Token::Comma) {
                break;
            }
        }
        if self.eat(&Token::RParen) {
            return Ok(columns);
        }
        let error = self.wanted("\",\" or \")\" after a column");
        Err(match self.word() {
            Some("NOT" | "DEFAULT" | "UNIQUE" | "CHECK" | "REFERENCES") => {
                error.hint("a column has a name, a type, and perhaps KEY or PRIMARY KEY")
            }
            _ => error,
        })
    }

    fn column(&mut self) -> Result<ColumnDef> {
        let first = self.index();
        let name = self.name("the name of a column")?;
        let data_type = self.data_type()?;
        let role = if self.eat_words(&["PRIMARY", "KEY"]) {
            Role::PrimaryKey
        } else if self.eat_word("KEY") {
            Role::Key
        } else if self.eat_word("HEADERS") {
            Role::Headers
        } else if self.eat_word("HEADER") {
            self.expect(&Token::LParen)?;
            let key = self.string("the name of the header")?;
            self.expect(&Token::RParen)?;
            Role::Header(key)
        } else {
            Role::Value
        };
        Ok(ColumnDef {
            name,
            data_type,
            role,
            span: self.span_from(first),
        })
    }

    fn data_type(&mut self) -> Result<SqlType> {
        let dialect = self.dialect();
        let custom = dialect.custom_types();
        parse_type(self, &custom)
    }

    fn create_sink(&mut self) -> Result<Statement> {
        self.skip();
        let if_not_exists = self.if_not_exists();
        let name = self.name("the name of the sink")?;
        if self.eat_word("FROM") {
            let input = SinkInput::Source(self.name("the stream or table to write")?);
            let with = self.with()?;
            return Ok(Statement::CreateSink {
                if_not_exists,
                name,
                input,
                with,
            });
        }
        let with = self.with()?;
        if !self.eat_word("AS") {
            return Err(self.wanted_one_of(&["FROM", "AS"], " and what the sink writes"));
        }
        let input = SinkInput::Query(Box::new(self.query()?));
        // The properties may stand at the end as they do behind FROM.
        let with = if with.is_empty() { self.with()? } else { with };
        Ok(Statement::CreateSink {
            if_not_exists,
            name,
            input,
            with,
        })
    }

    fn create_type(&mut self) -> Result<Statement> {
        self.skip();
        let if_not_exists = self.if_not_exists();
        let name = self.name("the name of the type")?;
        self.expect_word("AS")?;
        let data_type = self.data_type()?;
        let dialect = self.dialect();
        if !(if_not_exists && dialect.custom_types().contains_key(&name.value)) {
            dialect.add_custom_type(name.value.clone(), data_type.clone());
        }
        Ok(Statement::CreateType {
            if_not_exists,
            name,
            data_type,
        })
    }

    pub(super) fn drop(&mut self) -> Result<Statement> {
        self.skip();
        let kind = match self.word() {
            Some("STREAM") => DropKind::Stream,
            Some("TABLE") => DropKind::Table,
            Some("SINK") => DropKind::Sink,
            Some("TYPE") => DropKind::Type,
            Some("CONNECTOR") => return Err(self.no_connectors()),
            _ => return Err(self.wanted_one_of(CREATABLE, " after DROP")),
        };
        self.skip();
        let if_exists = self.if_exists();
        let name = self.name("what to drop")?;
        if kind == DropKind::Type {
            self.dialect().remove_custom_type(&name.value);
        }
        let delete_topic = self.take_words(&["DELETE", "TOPIC"]);
        if let (Some(span), DropKind::Sink | DropKind::Type) = (delete_topic, kind) {
            return Err(Error::invalid("only streams and tables have a topic").at(span));
        }
        Ok(Statement::Drop {
            kind,
            if_exists,
            name,
            delete_topic: delete_topic.is_some(),
        })
    }

    pub(super) fn alter(&mut self) -> Result<Statement> {
        self.skip();
        let Some(kind) = self.kind() else {
            let error = self.wanted_one_of(&["STREAM", "TABLE"], " after ALTER");
            return Err(match self.word() {
                Some("SYSTEM") => error.hint("properties are SET"),
                _ => error,
            });
        };
        let name = self.name(&format!("the name of the {}", kind.word()))?;
        let mut columns = Vec::new();
        loop {
            if !self.eat_word("ADD") {
                let error = self.wanted_one_of(&["ADD"], " and a column");
                return Err(match self.word() {
                    Some("DROP" | "ALTER" | "RENAME") => {
                        error.hint("columns can be added, and not changed or dropped")
                    }
                    _ => error,
                });
            }
            // A column may be called so.
            if self.word() == Some("COLUMN") && self.word_at(2).is_some() {
                self.skip();
            }
            let column = self.column()?;
            if column.role != Role::Value {
                return Err(Error::invalid("keys and headers cannot be added").at(column.span));
            }
            columns.push(column);
            if !self.eat(&Token::Comma) {
                return Ok(Statement::AlterSource {
                    kind,
                    name,
                    columns,
                });
            }
        }
    }
}
