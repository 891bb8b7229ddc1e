//! Shapes of the dialect's expressions made into ones that DataFusion's planner knows.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, CastKind, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgOperator,
    FunctionArgumentList, FunctionArguments, Ident, NullTreatment, ObjectName, Value, VisitMut,
    VisitorMut,
};

use crate::error::{Error, Result};
use crate::types::SqlType;

/// Rewrites an expression, or a whole query, in place.
pub(crate) fn rewrite(node: &mut impl VisitMut) -> Result<()> {
    match node.visit(&mut Rewriter) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Rewriter;

impl VisitorMut for Rewriter {
    type Break = Error;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        match rewrite_node(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn rewrite_node(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::Function(function) => rewrite_function(function)?,
        // A value that cannot be cast is NULL in the dialect, not the end of the query.
        Expr::Cast { kind, .. } => *kind = CastKind::TryCast,
        // 1E3 is a DOUBLE where 1.5 is a DECIMAL.
        Expr::Value(value) => {
            if let Value::Number(text, _) = &value.value
                && text.contains(['e', 'E'])
            {
                *expr = Expr::Cast {
                    kind: CastKind::Cast,
                    expr: Box::new(Expr::value(Value::SingleQuotedString(text.clone()))),
                    data_type: SqlType::Double.to_ast(),
                    array: false,
                    format: None,
                };
            }
        }
        _ => {}
    }
    Ok(())
}

fn rewrite_function(function: &mut Function) -> Result<()> {
    let [part] = function.name.0.as_slice() else {
        return Ok(());
    };
    let Some(ident) = part.as_ident() else {
        return Ok(());
    };
    let name = ident.value.to_ascii_uppercase();
    match name.as_str() {
        "STRUCT" => {
            let mut args = Vec::new();
            for (key, value) in assignments(function, "STRUCT(name := value, …)")? {
                let Expr::Identifier(field) = key else {
                    return Err(Error::syntax(format!("expected a field name, found {key}")));
                };
                args.extend([string(field.value), value]);
            }
            replace(function, "named_struct", args);
        }
        "MAP" if has_assignments(function) => {
            let mut args = Vec::new();
            for (key, value) in assignments(function, "MAP('key' := value, …)")? {
                args.extend([key, value]);
            }
            replace(function, "make_map", args);
        }
        // Rows come in offset order, so the latest is the last one taken.
        "LATEST_BY_OFFSET" => by_offset(function, "last_value")?,
        "EARLIEST_BY_OFFSET" => by_offset(function, "first_value")?,
        "COUNT_DISTINCT" => {
            rename(function, "count");
            if let FunctionArguments::List(list) = &mut function.args {
                list.duplicate_treatment = Some(ast::DuplicateTreatment::Distinct);
            }
        }
        "COLLECT_SET" => {
            rename(function, "array_agg");
            if let FunctionArguments::List(list) = &mut function.args {
                list.duplicate_treatment = Some(ast::DuplicateTreatment::Distinct);
            }
        }
        _ => {}
    }
    Ok(())
}

fn by_offset(function: &mut Function, name: &str) -> Result<()> {
    let FunctionArguments::List(list) = &mut function.args else {
        return Ok(());
    };
    let ignore = match list.args.len() {
        1 => true,
        2 => match list.args.pop() {
            Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))))
                if matches!(value.value, Value::Boolean(_)) =>
            {
                value.value == Value::Boolean(true)
            }
            _ => {
                return Err(Error::unsupported(format!(
                    "{} of the last n values is not there yet",
                    function.name
                )));
            }
        },
        _ => return Ok(()),
    };
    function.null_treatment = Some(if ignore {
        NullTreatment::IgnoreNulls
    } else {
        NullTreatment::RespectNulls
    });
    rename(function, name);
    Ok(())
}

fn has_assignments(function: &Function) -> bool {
    let FunctionArguments::List(list) = &function.args else {
        return false;
    };
    list.args
        .iter()
        .any(|arg| !matches!(arg, FunctionArg::Unnamed(_)))
}

/// The `name := value` arguments of a constructor.
fn assignments(function: &mut Function, form: &str) -> Result<Vec<(Expr, Expr)>> {
    let args = match std::mem::replace(&mut function.args, FunctionArguments::None) {
        FunctionArguments::List(list) => list.args,
        _ => Vec::new(),
    };
    let wrong = || Error::syntax(format!("expected {form}"));
    args.into_iter()
        .map(|arg| match arg {
            FunctionArg::Named {
                name,
                arg: FunctionArgExpr::Expr(value),
                operator: FunctionArgOperator::Assignment,
            } => Ok((Expr::Identifier(name), value)),
            FunctionArg::ExprNamed {
                name,
                arg: FunctionArgExpr::Expr(value),
                operator: FunctionArgOperator::Assignment,
            } => Ok((name, value)),
            _ => Err(wrong()),
        })
        .collect()
}

fn rename(function: &mut Function, name: &str) {
    function.name = ObjectName::from(vec![Ident::new(name)]);
}

fn replace(function: &mut Function, name: &str, args: Vec<Expr>) {
    rename(function, name);
    function.args = arguments(args);
}

fn arguments(args: Vec<Expr>) -> FunctionArguments {
    FunctionArguments::List(FunctionArgumentList {
        duplicate_treatment: None,
        args: args
            .into_iter()
            .map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)))
            .collect(),
        clauses: Vec::new(),
    })
}

fn string(text: String) -> Expr {
    Expr::value(Value::SingleQuotedString(text))
}
