//! Decoded requests, and their conversion to batches. An item is a query or statement of a request.

use std::collections::HashMap;
use std::sync::Arc;

use sqlhttp_core::{Action, Batch, Bindings, Expect, Failure, OnError, Settings, Step};

use crate::reply::Refusal;
use crate::reply_shape::{ItemKind, ItemShape, ReplyShape};

/// A decoded request. Only the JSON types of its members have been checked; [`Call::into_batch`] checks the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The credentials in the request body. `None` if the body contains none.
    pub credentials: Option<Credentials>,
    pub(crate) list: bool,
    pub(crate) items: Vec<Item>,
}

/// A user name and a password in clear text, as sent by the client. A member that is missing in the request is empty.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// The user name; empty if it is missing in the request.
    pub user: String,
    /// The password; empty if it is missing in the request.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The stored statements of a database, as configured by the operator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statements {
    /// The SQL text of each stored statement, by id. A client sends `#id` instead of the SQL text.
    pub stored: HashMap<String, Arc<str>>,
    /// Whether clients may run only stored statements. If so, a request with any other SQL text fails.
    pub only_stored: bool,
}

/// The parameter values for one run of a statement, or the failure if they cannot be bound.
pub(crate) type Values = Result<Bindings, Failure>;

/// A query or statement of the request: an element of the JSON member `transaction`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Item {
    pub(crate) query: Option<Sql>,
    pub(crate) statement: Option<Sql>,
    pub(crate) extras: Extras,
}

/// The value of the JSON member `query` or `statement`: an SQL text, or an object that contains one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Sql {
    Text(Arc<str>),
    Object(Box<Nested>),
}

/// The object that a client may send as `query` or `statement` instead of an SQL text.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Nested {
    pub(crate) text: Option<Arc<str>>,
    pub(crate) extras: Extras,
}

/// The JSON members that may stand beside the SQL text of a query or statement.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Extras {
    pub(crate) no_fail: bool,
    pub(crate) values: Option<Values>,
    /// The elements of `valuesBatch`: the parameter values for each run of the statement. Empty if there is no
    /// `valuesBatch`.
    pub(crate) values_batch: Vec<Values>,
    /// Whether the JSON member `encoder` or `decoder` is present. Both ask for encryption, which is not supported.
    pub(crate) encrypted: bool,
}

impl Call {
    /// Returns the number of queries and statements in the request.
    pub fn item_count(&self) -> usize {
        self.items.len()
    }

    /// Converts the call to a batch and to the shape of its reply. The batch has one step for each query or statement.
    /// A malformed query or statement becomes a step that fails when it is run.
    ///
    /// # Errors
    /// Status 400 if the call contains no query or statement.
    pub fn into_batch(self, statements: &Statements) -> Result<(Batch, ReplyShape), Refusal> {
        if self.items.is_empty() {
            return Err(Refusal::whole(400, "missing statements list ('transaction' node)"));
        }
        let (steps, items): (Vec<Step>, _) = self.items.into_iter().map(|item| item.into_step(statements)).unzip();
        let fails = |step: &Step| matches!(step.action, Action::Fail(_)) && step.on_error == OnError::Abort;
        let shape = ReplyShape { list: self.list, items, fails: steps.iter().any(fails) };
        // Like in SQLite, settings that have no effect within a transaction are ignored.
        Ok((Batch { settings: Settings::Ignore, ..Batch::transaction(steps) }, shape))
    }
}

impl Item {
    fn into_step(self, statements: &Statements) -> (Step, ItemShape) {
        let (query, query_extras) = split(self.query);
        let (statement, statement_extras) = split(self.statement);
        let merged = self.extras.merge(query_extras).merge(statement_extras);
        let no_fail = merged.extras.no_fail;
        let mut shape = ItemShape { kind: ItemKind::Statement, no_fail, says_begin: false };
        let action = choose(query, statement).and_then(|(kind, text)| {
            shape.kind = kind;
            shape.says_begin = text.as_bytes().get(..5).is_some_and(|head| head.eq_ignore_ascii_case(b"begin"));
            merged.into_action(kind, &text, statements)
        });
        let step = Step {
            action: action.unwrap_or_else(Action::Fail),
            expect: if shape.kind == ItemKind::Query { Expect::Rows } else { Expect::Count },
            on_error: if no_fail { OnError::Continue } else { OnError::Abort },
        };
        (step, shape)
    }
}

/// Returns the SQL text of `query` or `statement` and the JSON members beside that text. The text is `None` if it is
/// missing or empty.
fn split(sql: Option<Sql>) -> (Option<Arc<str>>, Extras) {
    let (text, extras) = match sql {
        None => (None, Extras::default()),
        Some(Sql::Text(text)) => (Some(text), Extras::default()),
        Some(Sql::Object(nested)) => (nested.text, nested.extras),
    };
    (text.filter(|text| !text.is_empty()), extras)
}

fn choose(query: Option<Arc<str>>, statement: Option<Arc<str>>) -> Result<(ItemKind, Arc<str>), Failure> {
    match (query, statement) {
        (Some(text), None) => Ok((ItemKind::Query, text)),
        (None, Some(text)) => Ok((ItemKind::Statement, text)),
        _ => Err(malformed("one and only one of query or statement must be provided")),
    }
}

impl Extras {
    fn merge(self, inner: Extras) -> Merged {
        Merged { extras: self, twice: false }.merge(inner)
    }
}

/// The JSON members beside a query or statement, combined with those inside its object.
struct Merged {
    extras: Extras,
    /// Whether the values were given twice: both beside the query or statement, and inside it.
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

    /// Checks the query or statement and converts it to an action. The first failed check determines the error message,
    /// so the order of the checks is part of the protocol.
    fn into_action(self, kind: ItemKind, text: &Arc<str>, statements: &Statements) -> Result<Action, Failure> {
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
        if kind == ItemKind::Query && !extras.values_batch.is_empty() {
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
