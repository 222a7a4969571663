//! Decodes the JSON array of statements in a request body. If the body has several errors, the first in the body is
//! reported.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;
use sqlhttp_core::{BindRule, Bindings};

use super::progress::Progress;
use super::text::without_lone_surrogates;
use super::value;
use crate::call::Statement;
use crate::reply::Refusal;

/// The maximum number of statements in a request; a request with more is refused with status 413. A statement takes at
/// least four bytes in the body, but about a hundred bytes of memory or more.
pub const STATEMENTS_MAX: usize = 1 << 20;

/// Decodes the JSON value at the beginning of `text`, and ignores the text after that value. Lone surrogates in strings
/// become U+FFFD.
pub(super) fn parse(text: &str) -> Result<Vec<Statement>, Refusal> {
    parse_once(text).or_else(|refusal| match without_lone_surrogates(text) {
        Some(repaired) => parse_once(&repaired),
        None => Err(refusal),
    })
}

fn parse_once(text: &str) -> Result<Vec<Statement>, Refusal> {
    let progress = Progress::default();
    let statements = ListSeed(&progress).deserialize(&mut serde_json::Deserializer::from_str(text));
    statements.map_err(|error| match (progress.refusal(), error.classify()) {
        (Some(refusal), _) => refusal,
        // The JSON is valid but has the wrong types.
        (None, Category::Data) => Refusal::text(400, "invalid request"),
        (None, Category::Syntax | Category::Eof | Category::Io) => Refusal::invalid_json(),
    })
}

/// Implements `DeserializeSeed` for a type that is both the seed and its visitor.
macro_rules! seed {
    ($seed:ty => $value:ty) => {
        impl<'de> DeserializeSeed<'de> for $seed {
            type Value = $value;

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<$value, D::Error> {
                deserializer.deserialize_any(self)
            }
        }
    };
}

struct ListSeed<'p>(&'p Progress);

seed!(ListSeed<'_> => Vec<Statement>);

impl<'de> Visitor<'de> for ListSeed<'_> {
    type Value = Vec<Statement>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of statements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Statement>, A::Error> {
        let mut statements = Vec::new();
        while let Some(statement) = seq.next_element_seed(StatementSeed(self.0))? {
            if statements.len() == STATEMENTS_MAX {
                return Err(self.0.refuse(Refusal::text(413, "too many statements")));
            }
            statements.push(statement);
        }
        if statements.is_empty() {
            return Err(self.0.refuse(Refusal::no_statements()));
        }
        Ok(statements)
    }
}

struct StatementSeed<'p>(&'p Progress);

seed!(StatementSeed<'_> => Statement);

impl<'de> Visitor<'de> for StatementSeed<'_> {
    type Value = Statement;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SQL, or a list of SQL and parameters")
    }

    fn visit_str<E>(self, sql: &str) -> Result<Statement, E> {
        Ok(Statement::new(sql))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Statement, A::Error> {
        let Some(sql) = seq.next_element_seed(SqlSeed)? else {
            return Err(A::Error::custom("no SQL"));
        };
        let mut entries = Vec::new();
        while let Some(parameter) = seq.next_element::<&RawValue>()? {
            value::append(parameter.get(), &mut entries, self.0).map_err(|refusal| self.0.refuse(refusal))?;
        }
        let rule = BindRule::Counted;
        Ok(Statement { sql, bindings: Bindings { entries, rule } })
    }
}

struct SqlSeed;

seed!(SqlSeed => Arc<str>);

impl Visitor<'_> for SqlSeed {
    type Value = Arc<str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SQL")
    }

    fn visit_str<E>(self, sql: &str) -> Result<Arc<str>, E> {
        Ok(sql.into())
    }
}
