//! What an expression may start with: CAST to our types, lambdas, `STRUCT(f := v)`, names.

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgOperator,
    FunctionArgumentList, FunctionArguments, LambdaFunction, LambdaFunctionParameter, LambdaSyntax,
    ObjectName, OneOrManyWithParens,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, Word};

use super::KsqlDialect;
use crate::error::ErrorKind;
use crate::parser::keywords;
use crate::parser::tokens::Tokens;
use crate::types::parse_type;

/// `None` leaves the expression to sqlparser.
pub(super) fn parse(
    dialect: &KsqlDialect,
    parser: &mut Parser,
) -> Result<Option<Expr>, ParserError> {
    match parser.token_at_offset(0) {
        Token::LParen => lambda_of_many(parser),
        Token::Word(word) => {
            let word = word.clone();
            word_first(dialect, parser, &word)
        }
        _ => Ok(None),
    }
}

fn word_first(
    dialect: &KsqlDialect,
    parser: &mut Parser,
    word: &Word,
) -> Result<Option<Expr>, ParserError> {
    let next = parser.token_at_offset(1);
    if *next == Token::RArrow {
        return lambda_of_one(parser, word).map(Some);
    }
    let quoted = word.quote_style.is_some();
    let called = *next == Token::LParen;
    if !quoted {
        match word.value.as_str() {
            "CAST" if called => return cast(dialect, parser, CastKind::Cast).map(Some),
            "TRY_CAST" if called => return cast(dialect, parser, CastKind::TryCast).map(Some),
            // `INTERVAL '1' DAY`, and a column of that name.
            "INTERVAL" if !matches!(next, Token::SingleQuotedString(_) | Token::Number(..)) => {
                return if called {
                    Ok(None)
                } else {
                    Ok(Some(name(parser, word)))
                };
            }
            "LEFT" | "RIGHT" if called => {}
            "LEFT" | "RIGHT" => return Err(dialect.keep(parser.wanted("an expression"))),
            _ if keywords::ends_expression(word) => {
                return Err(dialect.keep(parser.wanted("an expression")));
            }
            _ => {}
        }
    }
    if called {
        let call = Call::look_ahead(parser);
        if call.assigns {
            return assigning_call(parser, word).map(Some);
        }
        if quoted || (has_special_forms(word) && !call.special) {
            return plain_call(parser, word).map(Some);
        }
        return Ok(None);
    }
    // The rest of sqlparser's ways for a word tries a type first, then an expression, then a
    // name. A word without any other meaning need not go there.
    let typed_text = matches!(next, Token::SingleQuotedString(_));
    if (quoted || word.keyword == Keyword::NoKeyword) && !typed_text {
        return Ok(Some(name(parser, word)));
    }
    Ok(None)
}

fn name(parser: &mut Parser, word: &Word) -> Expr {
    let ident = word.to_ident(parser.span());
    parser.skip();
    Expr::Identifier(ident)
}

/// Functions that sqlparser reads into nodes of their own, even in plain form.
fn has_special_forms(word: &Word) -> bool {
    matches!(
        word.value.as_str(),
        "CEIL"
            | "CONVERT"
            | "EXTRACT"
            | "FLOOR"
            | "OVERLAY"
            | "POSITION"
            | "SUBSTR"
            | "SUBSTRING"
            | "TRIM"
    )
}

/// What is between the parentheses of a call, apart from what is in further ones.
#[derive(Default)]
struct Call {
    /// `:=`
    assigns: bool,
    /// A word of a special form: `SUBSTRING(a FROM 1)`, `POSITION(a IN b)`, `CEIL(a TO DAY)`.
    special: bool,
}

impl Call {
    fn look_ahead(parser: &Parser) -> Self {
        let mut call = Self::default();
        let mut depth = 0_usize;
        for ahead in 1.. {
            match parser.token_at_offset(ahead) {
                Token::LParen | Token::LBracket => depth += 1,
                Token::RParen | Token::RBracket if depth <= 1 => break,
                Token::RParen | Token::RBracket => depth -= 1,
                Token::EOF | Token::SemiColon => break,
                Token::Assignment if depth == 1 => call.assigns = true,
                Token::Word(word) if depth == 1 && word.quote_style.is_none() => {
                    call.special |= matches!(
                        word.value.as_str(),
                        "FROM"
                            | "FOR"
                            | "IN"
                            | "TO"
                            | "PLACING"
                            | "BOTH"
                            | "LEADING"
                            | "TRAILING"
                            | "USING"
                    );
                }
                _ => {}
            }
        }
        call
    }
}

fn plain_call(parser: &mut Parser, word: &Word) -> Result<Expr, ParserError> {
    let ident = word.to_ident(parser.span());
    parser.skip();
    parser.parse_function(ObjectName::from(vec![ident]))
}

/// A call with `name := value` among its arguments.
fn assigning_call(parser: &mut Parser, word: &Word) -> Result<Expr, ParserError> {
    let ident = word.to_ident(parser.span());
    let of_fields = ident.quote_style.is_none() && ident.value == "STRUCT";
    parser.skip();
    parser.expect_token(&Token::LParen)?;
    let args = parser.parse_comma_separated(|parser| assigned(parser, of_fields))?;
    parser.expect_token(&Token::RParen)?;
    let args = FunctionArgumentList {
        duplicate_treatment: None,
        args,
        clauses: Vec::new(),
    };
    Ok(Expr::Function(Function {
        name: ObjectName::from(vec![ident]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(args),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    }))
}

fn assigned(parser: &mut Parser, of_fields: bool) -> Result<FunctionArg, ParserError> {
    let operator = FunctionArgOperator::Assignment;
    // A field's name may be any word, as it may behind an arrow.
    if of_fields
        && *parser.token_at_offset(1) == Token::Assignment
        && let Token::Word(word) = parser.token_at_offset(0)
    {
        let name = word.to_ident(parser.span());
        parser.skip();
        parser.skip();
        let arg = FunctionArgExpr::Expr(parser.parse_expr()?);
        return Ok(FunctionArg::Named {
            name,
            arg,
            operator,
        });
    }
    let name = parser.parse_expr()?;
    if !parser.eat(&Token::Assignment) {
        return Ok(FunctionArg::Unnamed(FunctionArgExpr::Expr(name)));
    }
    let arg = FunctionArgExpr::Expr(parser.parse_expr()?);
    Ok(FunctionArg::ExprNamed {
        name,
        arg,
        operator,
    })
}

/// `x => body`
fn lambda_of_one(parser: &mut Parser, word: &Word) -> Result<Expr, ParserError> {
    let name = word.to_ident(parser.span());
    parser.skip();
    parser.skip();
    lambda(
        parser,
        OneOrManyWithParens::One(LambdaFunctionParameter {
            name,
            data_type: None,
        }),
    )
}

/// `(k, v) => body`, or `None` if the parenthesis is any other.
fn lambda_of_many(parser: &mut Parser) -> Result<Option<Expr>, ParserError> {
    let mut params = Vec::new();
    let mut ahead = 1;
    while let Token::Word(word) = parser.token_at_offset(ahead) {
        let name = word.to_ident(parser.span_at(ahead));
        params.push(LambdaFunctionParameter {
            name,
            data_type: None,
        });
        ahead += 1;
        match parser.token_at_offset(ahead) {
            Token::Comma => ahead += 1,
            _ => break,
        }
    }
    let closed = *parser.token_at_offset(ahead) == Token::RParen;
    if !closed || params.is_empty() || *parser.token_at_offset(ahead + 1) != Token::RArrow {
        return Ok(None);
    }
    for _ in 0..ahead + 2 {
        parser.skip();
    }
    lambda(parser, OneOrManyWithParens::Many(params)).map(Some)
}

fn lambda(
    parser: &mut Parser,
    params: OneOrManyWithParens<LambdaFunctionParameter>,
) -> Result<Expr, ParserError> {
    let body = Box::new(parser.parse_expr()?);
    Ok(Expr::Lambda(LambdaFunction {
        params,
        body,
        syntax: LambdaSyntax::Arrow,
    }))
}

/// `CAST(e AS type)`
fn cast(dialect: &KsqlDialect, parser: &mut Parser, kind: CastKind) -> Result<Expr, ParserError> {
    parser.skip();
    parser.expect_token(&Token::LParen)?;
    let expr = Box::new(parser.parse_expr()?);
    if !parser.eat_word("AS") {
        return Err(dialect.keep(parser.wanted("AS and a type")));
    }
    let data_type = cast_type(dialect, parser)?;
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::Cast {
        kind,
        expr,
        data_type,
        array: false,
        format: None,
    })
}

/// One of our types, or else one that DataFusion may know.
fn cast_type(dialect: &KsqlDialect, parser: &mut Parser) -> Result<DataType, ParserError> {
    let mut unknown = None;
    let ours = parser.try_parse(|parser| {
        parse_type(parser, &dialect.custom_types()).map_err(|error| {
            if error.kind == ErrorKind::Unknown {
                unknown = Some(error.clone());
            }
            dialect.keep(error)
        })
    });
    match (ours, unknown) {
        (Ok(ours), _) => Ok(ours.to_ast()),
        (Err(error), None) => Err(error),
        (Err(error), Some(_)) => match parser.maybe_parse(|parser| parser.parse_data_type())? {
            None | Some(DataType::Custom(..)) => Err(error),
            Some(theirs) => Ok(theirs),
        },
    }
}
