//! What may stand behind an operand: `->`, subscripts, long chains of AND and OR.

use datafusion::sql::sqlparser::ast::{AccessExpr, BinaryOperator, Expr, Value, ValueWithSpan};
use datafusion::sql::sqlparser::dialect::{Dialect, Precedence};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::KsqlDialect;
use crate::parser::tokens::Tokens;

/// `||` binds less tightly than `+` and more tightly than a comparison.
const CONCAT: u8 = 25;

/// How tightly the next token binds, where the dialect or our grammar differs from sqlparser.
pub(super) fn precedence(dialect: &KsqlDialect, parser: &Parser) -> Option<u8> {
    match parser.token_at_offset(0) {
        // `s->*` is for the select list.
        Token::Arrow if *parser.token_at_offset(1) == Token::Mul => Some(dialect.prec_unknown()),
        Token::Arrow | Token::LBracket => Some(dialect.prec_value(Precedence::Period)),
        Token::StringConcat => Some(CONCAT),
        Token::Assignment | Token::Colon => Some(dialect.prec_unknown()),
        // Operators of other systems, for which there is no reader or no plan. They are names.
        Token::Word(word) if word.quote_style.is_none() => match word.value.as_str() {
            "DIV" | "MATCH" | "MEMBER" | "OPERATOR" | "OVERLAPS" | "XOR" | "REGEXP" | "RLIKE"
            | "NOTNULL" => Some(dialect.prec_unknown()),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn parse(
    dialect: &KsqlDialect,
    parser: &mut Parser,
    left: &Expr,
    precedence: u8,
) -> Result<Option<Expr>, ParserError> {
    match parser.token_at_offset(0) {
        Token::Arrow | Token::LBracket => access(dialect, parser, left).map(Some),
        Token::Word(word) if word.quote_style.is_none() => match word.value.as_str() {
            "AND" => chain(parser, left, precedence, "AND", &BinaryOperator::And).map(Some),
            "OR" => chain(parser, left, precedence, "OR", &BinaryOperator::Or).map(Some),
            "IS" => distinct(parser, left, precedence),
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

/// All of `->b[2]->c` at once, onto whatever chain `left` has.
fn access(dialect: &KsqlDialect, parser: &mut Parser, left: &Expr) -> Result<Expr, ParserError> {
    let (root, mut chain) = match left {
        Expr::CompoundFieldAccess { root, access_chain } => (root.clone(), access_chain.clone()),
        other => (Box::new(other.clone()), Vec::new()),
    };
    loop {
        if *parser.token_at_offset(0) == Token::LBracket {
            parser.parse_multi_dim_subscript(&mut chain)?;
        } else if *parser.token_at_offset(0) == Token::Arrow
            && *parser.token_at_offset(1) != Token::Mul
        {
            parser.skip();
            // Whatever the word, behind an arrow it is a field.
            let Token::Word(word) = parser.token_at_offset(0) else {
                return Err(dialect.keep(parser.wanted("a field name")));
            };
            let value = Value::SingleQuotedString(word.value.clone());
            let field = Expr::Value(ValueWithSpan {
                value,
                span: parser.span(),
            });
            parser.skip();
            chain.push(AccessExpr::Dot(field));
        } else {
            return Ok(Expr::CompoundFieldAccess {
                root,
                access_chain: chain,
            });
        }
    }
}

/// All terms of a chain, as a balanced tree. Order and meaning stay: both operators are
/// associative, in three-valued logic too.
fn chain(
    parser: &mut Parser,
    left: &Expr,
    precedence: u8,
    word: &str,
    op: &BinaryOperator,
) -> Result<Expr, ParserError> {
    let mut terms = vec![left.clone()];
    while parser.eat_word(word) {
        terms.push(parser.parse_subexpr(precedence)?);
    }
    Ok(balanced(&mut terms.into_iter(), op))
}

/// The tree over the next terms, of which there must be at least one.
fn balanced(terms: &mut std::vec::IntoIter<Expr>, op: &BinaryOperator) -> Expr {
    // Combines neighbours, row by row, so that nothing recurses.
    let mut row: Vec<Expr> = terms.collect();
    while row.len() > 1 {
        let mut above = Vec::with_capacity(row.len().div_ceil(2));
        let mut below = row.into_iter();
        while let Some(left) = below.next() {
            above.push(match below.next() {
                Some(right) => Expr::BinaryOp {
                    left: Box::new(left),
                    op: op.clone(),
                    right: Box::new(right),
                },
                None => left,
            });
        }
        row = above;
    }
    row.pop().expect("a chain has its left operand")
}

/// `IS [NOT] DISTINCT FROM`, whose right side is an operand and not a whole condition.
fn distinct(parser: &mut Parser, left: &Expr, precedence: u8) -> Result<Option<Expr>, ParserError> {
    let negated = if parser.eat_words(&["IS", "NOT", "DISTINCT", "FROM"]) {
        true
    } else if parser.eat_words(&["IS", "DISTINCT", "FROM"]) {
        false
    } else {
        return Ok(None);
    };
    let left = Box::new(left.clone());
    let right = Box::new(parser.parse_subexpr(precedence)?);
    Ok(Some(if negated {
        Expr::IsNotDistinctFrom(left, right)
    } else {
        Expr::IsDistinctFrom(left, right)
    }))
}
