//! `*` in an ad hoc query: the declared columns. ROWTIME and the place in the topic are shown to
//! those who name them, as in a push query.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Ident, JoinConstraint, JoinOperator, ObjectName, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, TableFactor, TableWithJoins, VisitMut, VisitorMut,
    WildcardAdditionalOptions,
};

use crate::catalog::Catalog;
use crate::column;

const HIDDEN: [&str; 3] = [column::ROWTIME, column::ROWPARTITION, column::ROWOFFSET];

/// Makes every `*` and `name.*` of `query` leave out the pseudo columns.
pub(super) fn hide_pseudo_columns(catalog: &Catalog, query: &mut Query) {
    let ctes = ctes_of(query);
    let ControlFlow::Continue(()) = query.visit(&mut Hider { catalog, ctes });
}

/// The names that WITH gives, anywhere: `*` of one of them is what its query selects.
fn ctes_of(query: &mut Query) -> HashSet<String> {
    struct Collector(HashSet<String>);
    impl VisitorMut for Collector {
        type Break = std::convert::Infallible;

        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
            let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
            self.0.extend(ctes.map(|cte| cte.alias.name.value.clone()));
            ControlFlow::Continue(())
        }
    }
    let mut collector = Collector(HashSet::new());
    let ControlFlow::Continue(()) = query.visit(&mut collector);
    collector.0
}

struct Hider<'a> {
    catalog: &'a Catalog,
    ctes: HashSet<String>,
}

impl VisitorMut for Hider<'_> {
    type Break = std::convert::Infallible;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        let Some(sources) = self.sources(&select.from) else {
            return ControlFlow::Continue(());
        };
        let mut items = Vec::with_capacity(select.projection.len());
        for item in std::mem::take(&mut select.projection) {
            match item {
                SelectItem::Wildcard(options) if options.opt_exclude.is_none() => {
                    items.extend(sources.iter().map(|source| source.wildcard(&options)));
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    options,
                ) if options.opt_exclude.is_none() => {
                    let source = sources.iter().find(|source| source.name == name);
                    items.push(match source {
                        Some(source) => source.wildcard(&options),
                        None => SelectItem::QualifiedWildcard(
                            SelectItemQualifiedWildcardKind::ObjectName(name),
                            options,
                        ),
                    });
                }
                other => items.push(other),
            }
        }
        select.projection = items;
        ControlFlow::Continue(())
    }
}

/// One of the things behind FROM.
struct Source {
    name: ObjectName,
    hidden: Vec<ObjectName>,
}

impl Source {
    fn wildcard(&self, options: &WildcardAdditionalOptions) -> SelectItem {
        let mut options = options.clone();
        if !self.hidden.is_empty() {
            options.opt_exclude = Some(ExcludeSelectItem::Multiple(self.hidden.clone()));
        }
        let kind = SelectItemQualifiedWildcardKind::ObjectName(self.name.clone());
        SelectItem::QualifiedWildcard(kind, options)
    }
}

impl Hider<'_> {
    /// What is behind FROM, if `*` is all columns of each, one after the other.
    fn sources(&self, from: &[TableWithJoins]) -> Option<Vec<Source>> {
        let mut sources = Vec::new();
        for item in from {
            sources.push(self.source(&item.relation)?);
            for join in &item.joins {
                // A column that both sides share stands once in `*`.
                if matches!(
                    constraint(&join.join_operator),
                    None | Some(JoinConstraint::Using(_) | JoinConstraint::Natural)
                ) {
                    return None;
                }
                sources.push(self.source(&join.relation)?);
            }
        }
        (!sources.is_empty()).then_some(sources)
    }

    fn source(&self, factor: &TableFactor) -> Option<Source> {
        let (alias, relation) = match factor {
            TableFactor::Table { name, alias, .. } => {
                let ident = name.0.last()?.as_ident()?;
                let known = (!self.ctes.contains(&ident.value))
                    .then(|| self.catalog.get(&ident.value))
                    .flatten();
                let alias = alias.as_ref().map_or(ident, |alias| &alias.name);
                (alias.clone(), known)
            }
            TableFactor::Derived { alias, .. } => (alias.as_ref()?.name.clone(), None),
            _ => return None,
        };
        let hidden = relation.map_or(Vec::new(), |relation| {
            let schema = relation.query_schema();
            let shown = |name: &&str| schema.field_with_name(name).is_ok();
            let hidden = HIDDEN.into_iter().filter(shown);
            hidden.map(|name| Ident::new(name).into()).collect()
        });
        Some(Source {
            name: alias.into(),
            hidden,
        })
    }
}

/// How a join finds its pairs; `None` for one whose result is not both sides' columns.
fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)
        | JoinOperator::CrossJoin(constraint) => Some(constraint),
        _ => None,
    }
}
