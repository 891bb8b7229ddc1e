//! SELECT, in both of its forms: the continuous one, which is ours, and the pull query, which is
//! sqlparser's.

use datafusion::sql::sqlparser::tokenizer::{Span, Token};

use super::keywords;
use super::statement::StatementParser;
use super::tokens::{Tokens, list};
use super::window::WINDOWS;
use crate::ast::{ClauseSpans, Emit, Name, Query, SelectItem, SelectItemKind, Statement};
use crate::error::{Error, Result, suggest};

/// The clauses behind FROM. WINDOW may stand anywhere among them, the others in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Clause {
    Window,
    Where,
    GroupBy,
    PartitionBy,
    Having,
    Emit,
    Limit,
}

impl Clause {
    const ALL: [Self; 7] = [
        Self::Window,
        Self::Where,
        Self::GroupBy,
        Self::PartitionBy,
        Self::Having,
        Self::Emit,
        Self::Limit,
    ];

    fn text(self) -> &'static str {
        match self {
            Self::Window => "WINDOW",
            Self::Where => "WHERE",
            Self::GroupBy => "GROUP BY",
            Self::PartitionBy => "PARTITION BY",
            Self::Having => "HAVING",
            Self::Emit => "EMIT",
            Self::Limit => "LIMIT",
        }
    }

    /// What it comes after; LIMIT and EMIT are in no order.
    fn follows(self, other: Self) -> bool {
        self == Self::Window && other < Self::Emit
            || other == Self::Window
            || (self == Self::Emit && other == Self::Limit)
            || self > other
    }
}

impl StatementParser<'_> {
    /// Whether the SELECT that is next has an EMIT of its own.
    pub(super) fn is_continuous(&self) -> bool {
        self.outer_word(|parser, ahead| {
            parser.word_at(ahead) == Some("EMIT")
                && match parser.token_at_offset(ahead + 1) {
                    Token::EOF => parser.may_end_at(ahead - 1),
                    Token::Word(next) if next.quote_style.is_none() => {
                        suggest(&next.value, ["CHANGES", "FINAL"]).is_some()
                    }
                    _ => false,
                }
        })
        .is_some()
    }

    /// Whether a query could end behind that token: an EMIT there is no name.
    fn may_end_at(&self, ahead: usize) -> bool {
        match self.token_at_offset(ahead) {
            Token::Word(word) => !keywords::is_reserved(word),
            Token::RParen | Token::Number(..) | Token::SingleQuotedString(_) => true,
            _ => false,
        }
    }

    /// The first place outside of parentheses for which `wanted` holds, in tokens from here.
    fn outer_word(&self, wanted: impl Fn(&Self, usize) -> bool) -> Option<usize> {
        let mut depth = 0_usize;
        for ahead in 0.. {
            match self.token_at_offset(ahead) {
                Token::EOF => return None,
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                _ if depth == 0 && wanted(self, ahead) => return Some(ahead),
                _ => {}
            }
        }
        None
    }

    /// A pull query: SQL as DataFusion speaks it.
    pub(super) fn pull(&mut self) -> Result<Statement> {
        let window = self.outer_word(|parser, ahead| parser.is_window_at(ahead));
        if let (Some(_), Some(open)) = (window, self.unclosed()) {
            return Err(Error::syntax("the parenthesis is not closed").at(open));
        }
        if let Some(ahead) = window {
            let span = self.span_at(ahead);
            return Err(Error::invalid("WINDOW is for continuous queries")
                .at(span)
                .hint("add EMIT CHANGES or EMIT FINAL, or query a table that has windows"));
        }
        let star = self.outer_word(|parser, ahead| {
            *parser.token_at_offset(ahead) == Token::Arrow
                && *parser.token_at_offset(ahead + 1) == Token::Mul
        });
        if let Some(ahead) = star {
            let span = self.span_at(ahead);
            return Err(
                Error::unsupported("->* is not supported in a pull query yet")
                    .at(span)
                    .hint("name the fields"),
            );
        }
        let query = self.parse_query().map_err(|error| self.sql_error(error))?;
        if !self.at_end()
            && let Some(error) = self.misspelt_before()
        {
            return Err(error);
        }
        Ok(Statement::Pull(query))
    }

    /// `SELECT … FROM … EMIT …`, of which SELECT is to be next.
    pub(super) fn query(&mut self) -> Result<Query> {
        let select = self.span();
        if *self.token_at_offset(0) == Token::LParen || self.word() == Some("WITH") {
            return Err(self.not_yet("WITH and parentheses around a query"));
        }
        self.expect_word("SELECT")?;
        if self.word() == Some("DISTINCT") {
            return Err(self.not_yet("SELECT DISTINCT").hint("GROUP BY the columns"));
        }
        let mut items = vec![self.select_item()?];
        while self.eat(&Token::Comma) {
            items.push(self.select_item()?);
        }
        if !self.eat_word("FROM") {
            return Err(self
                .misspelt_alias(&items, &["FROM"])
                .unwrap_or_else(|| self.wanted_one_of(&["\",\"", "FROM"], "")));
        }
        let from = self.relation()?;
        let nowhere = Span::empty();
        let mut query = Query {
            items,
            from,
            window: None,
            filter: None,
            group_by: Vec::new(),
            partition_by: Vec::new(),
            having: None,
            emit: None,
            limit: None,
            spans: ClauseSpans {
                select,
                group_by: nowhere,
                partition_by: nowhere,
                emit: nowhere,
                limit: nowhere,
            },
        };
        self.clauses(&mut query)?;
        Ok(query)
    }

    fn clauses(&mut self, query: &mut Query) -> Result<()> {
        let mut seen: Vec<Clause> = Vec::new();
        while let Some(clause) = self.clause() {
            if seen.contains(&clause) {
                let twice = format!("{} is given twice", clause.text());
                return Err(Error::syntax(twice).at(self.span()));
            }
            if let Some(before) = seen.iter().find(|before| !clause.follows(**before)) {
                let order = format!("{} must come before {}", clause.text(), before.text());
                return Err(Error::syntax(order).at(self.span()));
            }
            seen.push(clause);
            match clause {
                Clause::Window => query.window = Some(self.window()?),
                Clause::Where => {
                    self.skip();
                    query.filter = Some(self.expr()?);
                }
                Clause::GroupBy => {
                    query.spans.group_by = self.two_words()?;
                    query.group_by = self.expr_list()?;
                }
                Clause::PartitionBy => {
                    query.spans.partition_by = self.two_words()?;
                    query.partition_by = self.expr_list()?;
                }
                Clause::Having => {
                    self.skip();
                    query.having = Some(self.expr()?);
                }
                Clause::Emit => {
                    let first = self.index();
                    self.skip();
                    query.emit = Some(match self.word() {
                        Some("CHANGES") => Emit::Changes,
                        Some("FINAL") => Emit::Final,
                        _ => {
                            return Err(self.wanted_one_of(&["CHANGES", "FINAL"], " after EMIT"));
                        }
                    });
                    self.skip();
                    query.spans.emit = self.span_from(first);
                }
                Clause::Limit => {
                    query.spans.limit = self.span();
                    self.skip();
                    query.limit = Some(self.integer("the limit")?.0);
                }
            }
        }
        self.after_clauses(query, &seen)
    }

    /// The clause that starts here.
    fn clause(&self) -> Option<Clause> {
        Some(match self.word()? {
            "WINDOW" => Clause::Window,
            "WHERE" => Clause::Where,
            "GROUP" => Clause::GroupBy,
            "PARTITION" => Clause::PartitionBy,
            "HAVING" => Clause::Having,
            "EMIT" => Clause::Emit,
            "LIMIT" => Clause::Limit,
            _ => return None,
        })
    }

    /// GROUP BY or PARTITION BY.
    fn two_words(&mut self) -> Result<Span> {
        let first = self.index();
        self.skip();
        self.expect_word("BY")?;
        Ok(self.span_from(first))
    }

    /// Whatever is here is not a clause: says which one was meant, or what we lack.
    fn after_clauses(&self, query: &Query, seen: &[Clause]) -> Result<()> {
        match self.word() {
            Some("ORDER") => return Err(self.not_yet("ORDER BY")),
            Some("UNION" | "EXCEPT" | "INTERSECT") => return Err(self.not_yet("UNION")),
            Some("OFFSET" | "FETCH") => return Err(self.not_yet("OFFSET")),
            // What may follow a query is the statement's to say.
            Some("WITH") => return Ok(()),
            _ if self.at_end() || *self.token_at_offset(0) == Token::RParen => return Ok(()),
            _ => {}
        }
        let last = seen.iter().max().copied();
        let possible: Vec<&str> = Clause::ALL
            .into_iter()
            .filter(|clause| !seen.contains(clause) && last.is_none_or(|last| clause.follows(last)))
            .map(Clause::text)
            .collect();
        // A misspelt clause looks like an alias of the last source.
        let sources = query
            .from
            .joins
            .last()
            .map_or(&query.from.source, |join| &join.right);
        if seen.is_empty()
            && let Some(alias) = &sources.alias
            && let Some(error) = self.misspelt_name(alias, &possible)
        {
            return Err(error);
        }
        let close = self.word().and_then(|word| first_word(word, &possible));
        let wanted: Vec<&str> = possible
            .into_iter()
            .chain(["the end of the query"])
            .collect();
        let error = self.wanted(&list(&wanted));
        Err(match close {
            Some(close) => error.hint(format!("did you mean {close}?")),
            None => error,
        })
    }

    /// What is next cannot be, and the name before it is nearly a clause of a pull query.
    fn misspelt_before(&self) -> Option<Error> {
        const CLAUSES: &[&str] = &["FROM", "WHERE", "GROUP BY", "HAVING", "ORDER BY", "LIMIT"];
        let word = self.word().filter(|word| !CLAUSES.contains(word));
        if let Some(close) = word.and_then(|word| first_word(word, CLAUSES)) {
            let error = self.wanted("the end of the statement");
            return Some(error.hint(format!("did you mean {close}?")));
        }
        let last = self.token(self.index().checked_sub(1)?);
        match &last.token {
            Token::Word(word) if word.quote_style.is_none() && !keywords::is_reserved(word) => {
                let name = Name {
                    value: word.value.clone(),
                    quoted: false,
                    span: last.span,
                };
                self.misspelt_name(&name, CLAUSES)
            }
            _ => None,
        }
    }

    fn misspelt_alias(&self, items: &[SelectItem], clauses: &[&str]) -> Option<Error> {
        match &items.last()?.kind {
            SelectItemKind::Expr {
                alias: Some(alias), ..
            } => self.misspelt_name(alias, clauses),
            _ => None,
        }
    }

    /// The name, if it is nearly one of the clauses.
    pub(super) fn misspelt_name(&self, name: &Name, clauses: &[&str]) -> Option<Error> {
        let close = (!name.quoted)
            .then(|| first_word(&name.value, clauses))
            .flatten()?;
        let wanted = list(clauses);
        let error = Error::syntax(format!("expected {wanted}, found \"{name}\"")).at(name.span);
        Some(error.hint(format!("did you mean {close}?")))
    }

    fn select_item(&mut self) -> Result<SelectItem> {
        let first = self.index();
        let kind = if self.eat(&Token::Mul) {
            SelectItemKind::Wildcard
        } else if *self.token_at_offset(1) == Token::Period
            && *self.token_at_offset(2) == Token::Mul
        {
            let source = self.name("the name of a source")?;
            self.skip();
            self.skip();
            SelectItemKind::QualifiedWildcard(source)
        } else {
            let expr = self.expr()?;
            if *self.token_at_offset(0) == Token::Arrow && *self.token_at_offset(1) == Token::Mul {
                self.skip();
                self.skip();
                SelectItemKind::StructWildcard(expr)
            } else {
                SelectItemKind::Expr {
                    expr,
                    alias: self.alias()?,
                }
            }
        };
        Ok(SelectItem {
            kind,
            span: self.span_from(first),
        })
    }

    /// `[AS] name`
    pub(super) fn alias(&mut self) -> Result<Option<Name>> {
        if self.eat_word("AS") {
            return self.name("a name after AS").map(Some);
        }
        let named = match self.token_at_offset(0) {
            Token::Word(word) if word.quote_style.is_some() => true,
            Token::Word(word) => !keywords::is_reserved(word) && !self.starts_clause(),
            _ => false,
        };
        if named {
            self.name("a name").map(Some)
        } else {
            Ok(None)
        }
    }

    /// Whether the word that is next, which could be a name, starts a clause.
    fn starts_clause(&self) -> bool {
        match (self.word(), self.token_at_offset(1)) {
            (Some("WINDOW"), Token::Word(_)) => true,
            (Some("PARTITION"), Token::Word(next)) => next.value == "BY",
            (Some("EMIT"), Token::Word(_) | Token::EOF) => true,
            (Some("WITHIN"), Token::Number(..) | Token::LParen) => true,
            (Some("WITHIN"), Token::Word(next)) => next.value != "ON",
            _ => false,
        }
    }

    fn is_window_at(&self, ahead: usize) -> bool {
        self.word_at(ahead) == Some("WINDOW")
            && [1, 2].into_iter().any(|next| {
                self.word_at(ahead + next)
                    .is_some_and(|word| WINDOWS.contains(&word))
            })
    }

    /// What DataFusion can and a continuous query cannot, at the next token.
    pub(super) fn not_yet(&self, what: &str) -> Error {
        Error::unsupported(format!("{what} is not supported in a continuous query yet"))
            .at(self.span())
    }
}

/// The clause whose first word is nearly `word`.
fn first_word<'c>(word: &str, clauses: &[&'c str]) -> Option<&'c str> {
    let first = |clause: &'c str| clause.split(' ').next().unwrap_or(clause);
    let close = suggest(word, clauses.iter().map(|clause| first(clause)))?;
    clauses
        .iter()
        .find(|clause| first(clause) == close)
        .copied()
}
