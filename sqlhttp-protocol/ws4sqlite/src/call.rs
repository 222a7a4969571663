//! Decoded requests, and their conversion to batches.

use std::collections::HashMap;
use std::sync::Arc;

use sqlhttp_core::{Action, Batch, Bindings, Expect, Failure, OnError, Settings, Step};

use crate::reply::Refusal;
use crate::reply_shape::{ItemShape, Kind, ReplyShape};

/// A decoded request. Only its JSON types have been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The credentials in the body, if it contains any.
    pub credentials: Option<Credentials>,
    pub(crate) list: bool,
    pub(crate) items: Vec<Item>,
}

/// A user name and a password in clear text, as sent. A missing one is empty.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The stored statements of a database, from its configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statements {
    /// The SQL texts by their ids. A client sends `#id` instead of the text.
    pub stored: HashMap<String, Arc<str>>,
    /// Whether clients may send only ids of stored statements.
    pub only_stored: bool,
}

/// One set of values, or the failure if it cannot be bound.
pub(crate) type Values = Result<Bindings, Failure>;

/// An element of `transaction`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Item {
    pub(crate) query: Option<Sql>,
    pub(crate) statement: Option<Sql>,
    pub(crate) extras: Extras,
}

/// The SQL of an item: a text, or an object that contains a text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Sql {
    Text(Arc<str>),
    Object(Box<Nested>),
}

/// `query` or `statement` given as an object.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Nested {
    pub(crate) text: Option<Arc<str>>,
    pub(crate) extras: Extras,
}

/// The members that may accompany the SQL.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Extras {
    pub(crate) no_fail: bool,
    pub(crate) values: Option<Values>,
    /// The sets of values. Empty if there is no `valuesBatch`.
    pub(crate) values_batch: Vec<Values>,
    /// Whether `encoder` or `decoder` was given.
    pub(crate) encrypted: bool,
}

impl Call {
    /// Returns the number of items in the transaction.
    pub fn item_count(&self) -> usize {
        self.items.len()
    }

    /// Converts the call to a batch with one step for each item, and to the shape of its reply. A malformed item
    /// becomes a step that fails when it is run.
    ///
    /// # Errors
    /// Status 400 for a call without items.
    pub fn into_batch(self, statements: &Statements) -> Result<(Batch, ReplyShape), Refusal> {
        if self.items.is_empty() {
            return Err(Refusal::whole(400, "missing statements list ('transaction' node)"));
        }
        let (steps, items): (Vec<Step>, _) = self.items.into_iter().map(|item| item.into_step(statements)).unzip();
        let fails = |step: &Step| matches!(step.action, Action::Fail(_)) && step.on_error == OnError::Abort;
        let shape = ReplyShape { list: self.list, items, fails: steps.iter().any(fails) };
        // Settings that have no effect within a transaction are ignored, as SQLite does.
        Ok((Batch { settings: Settings::Ignore, ..Batch::transaction(steps) }, shape))
    }
}

impl Item {
    fn into_step(self, statements: &Statements) -> (Step, ItemShape) {
        let (query, query_extras) = split(self.query);
        let (statement, statement_extras) = split(self.statement);
        let merged = self.extras.merge(query_extras).merge(statement_extras);
        let no_fail = merged.extras.no_fail;
        let mut shape = ItemShape { kind: Kind::Statement, no_fail, says_begin: false };
        let action = choose(query, statement).and_then(|(kind, text)| {
            shape.kind = kind;
            shape.says_begin = text.as_bytes().get(..5).is_some_and(|head| head.eq_ignore_ascii_case(b"begin"));
            merged.into_action(kind, &text, statements)
        });
        let step = Step {
            action: action.unwrap_or_else(Action::Fail),
            expect: if shape.kind == Kind::Query { Expect::Rows } else { Expect::Count },
            on_error: if no_fail { OnError::Continue } else { OnError::Abort },
        };
        (step, shape)
    }
}

/// Returns the text of an item's SQL, unless it is empty, and the members that accompany it.
fn split(sql: Option<Sql>) -> (Option<Arc<str>>, Extras) {
    let (text, extras) = match sql {
        None => (None, Extras::default()),
        Some(Sql::Text(text)) => (Some(text), Extras::default()),
        Some(Sql::Object(nested)) => (nested.text, nested.extras),
    };
    (text.filter(|text| !text.is_empty()), extras)
}

fn choose(query: Option<Arc<str>>, statement: Option<Arc<str>>) -> Result<(Kind, Arc<str>), Failure> {
    match (query, statement) {
        (Some(text), None) => Ok((Kind::Query, text)),
        (None, Some(text)) => Ok((Kind::Statement, text)),
        _ => Err(malformed("one and only one of query or statement must be provided")),
    }
}

impl Extras {
    fn merge(self, inner: Extras) -> Merged {
        Merged { extras: self, twice: false }.merge(inner)
    }
}

/// The extras of an item combined with those of the object in it.
struct Merged {
    extras: Extras,
    /// Whether both contain values.
    twice: bool,
}

impl Merged {
    fn merge(mut self, inner: Extras) -> Merged {
        let outer = &mut self.extras;
        outer.no_fail |= inner.no_fail;
        outer.encrypted |= inner.encrypted;
        self.twice |= outer.values.is_some() && inner.values.is_some();
        self.twice |= !outer.values_batch.is_empty() && !inner.values_batch.is_empty();
        outer.values = inner.values.or(outer.values.take());
        if !inner.values_batch.is_empty() {
            outer.values_batch = inner.values_batch;
        }
        self
    }

    /// Checks the item, and converts it to an action. The order of the checks is part of the protocol.
    fn into_action(self, kind: Kind, text: &Arc<str>, statements: &Statements) -> Result<Action, Failure> {
        let Merged { extras, twice } = self;
        if extras.encrypted {
            return Err(malformed("encoder and decoder are not supported, the data would be stored in clear"));
        }
        if twice {
            return Err(malformed("cannot specify values both beside the query or statement and inside it"));
        }
        if extras.values.is_some() && !extras.values_batch.is_empty() {
            return Err(malformed("cannot specify both values and valuesBatch"));
        }
        if kind == Kind::Query && !extras.values_batch.is_empty() {
            return Err(malformed("cannot specify valuesBatch for queries (only for statements)"));
        }
        let sql = statements.find(text)?;
        if extras.values_batch.is_empty() {
            let bindings = extras.values.unwrap_or_else(|| Ok(Bindings::none()))?;
            return Ok(Action::Run { sql, bindings });
        }
        Ok(Action::RunEach { sql, bindings: extras.values_batch })
    }
}

impl Statements {
    fn find(&self, text: &Arc<str>) -> Result<Arc<str>, Failure> {
        match text.strip_prefix('#') {
            Some(id) => {
                let sql = self.stored.get(id).cloned();
                sql.ok_or_else(|| malformed("a stored statement is required, but did not find it"))
            }
            None if self.only_stored => Err(malformed("configured to serve only stored statements, but SQL is passed")),
            None => Ok(Arc::clone(text)),
        }
    }
}

fn malformed(message: &str) -> Failure {
    Failure::Protocol { status: 400, message: message.to_owned() }
}
