//! Plans of continuous queries, pinned: each `plans/*.sql` is a script whose queries' plans stand in
//! the `.plan` file beside it. `UPDATE_EXPECT=1` rewrites those.

use kappa_sql::ast::Statement;
use kappa_sql::catalog::Catalog;
use kappa_sql::planner::{Defaults, Target, plan_query, plan_source, sink_relation};
use kappa_sql::{Error, parser};

fn run(script: &str) -> String {
    let mut catalog = Catalog::default();
    let mut out = String::new();
    for parsed in parser::parse(script)
        .unwrap_or_else(|error| panic!("{}", error.render(script)))
        .0
    {
        match plan(&mut catalog, &parsed.statement, &parsed.text) {
            Ok(Some(plan)) => out.push_str(&format!("{plan}\n\n")),
            Ok(None) => {}
            Err(error) => out.push_str(&format!("{}\n\n", error.render(script))),
        }
    }
    out
}

fn plan(catalog: &mut Catalog, statement: &Statement, text: &str) -> Result<Option<String>, Error> {
    match statement {
        Statement::CreateSource { .. } => {
            let new = plan_source(statement, text, &Defaults::default())?;
            catalog.insert(new.relation);
            Ok(None)
        }
        Statement::CreateAs {
            kind,
            query,
            name,
            with,
            ..
        } => {
            let plan = plan_query(catalog, query, Target::Create(*kind))?;
            let new = sink_relation(name, with, &plan, text, &Defaults::default())?;
            let columns: Vec<String> = new
                .relation
                .columns
                .iter()
                .map(|column| format!("{} {} {:?}", column.name, column.data_type, column.role))
                .collect();
            catalog.insert(new.relation);
            Ok(Some(format!(
                "-- {name}: {}\n{}",
                columns.join(", "),
                plan.plan.display_indent()
            )))
        }
        Statement::Push(query) => {
            let plan = plan_query(catalog, query, Target::Push)?;
            Ok(Some(plan.plan.display_indent().to_string()))
        }
        other => panic!("not for this test: {other:?}"),
    }
}

#[test]
fn plans_are_as_pinned() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let mut scripts: Vec<_> = std::fs::read_dir(&directory)
        .expect("the directory of plans is there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    for script in scripts {
        let text = std::fs::read_to_string(&script).expect("a script");
        let pinned = script.with_extension("plan");
        expect_test::expect_file![pinned].assert_eq(&run(&text));
    }
}
