//! Requests of clients that a follower forwards to the leader.
//!
//! The leader runs a forwarded batch exactly as one that it has received itself: it classifies the batch with its own
//! schema, which is the newest one, and stamps it. The leader also checks the credentials of the client with its own
//! users, so that a node with other users gives no access.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sqlhttp_core::{Batch, Deadline, Error, Outcome, ReadLevel, Settings, SqlError};

use crate::clock;
use crate::network::Request;

/// The name and the password of a client.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The name of the user.
    pub username: String,
    /// The password, in clear text.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Decides which requests of other nodes this node carries out. The program that runs the node implements it.
pub trait Authorizer: Send + Sync {
    /// Returns whether the user has all these permissions. `credentials` is `None` if the client has sent none.
    fn permits(&self, credentials: Option<&Credentials>, permissions: &[&str]) -> bool;
}

/// An authorizer that permits everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct PermitAll;

impl Authorizer for PermitAll {
    fn permits(&self, _credentials: Option<&Credentials>, _permissions: &[&str]) -> bool {
        true
    }
}

/// The client on whose behalf a node runs a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    pub(crate) credentials: Option<Arc<Credentials>>,
    /// The permissions that the request needs; empty if the node itself makes the request.
    pub(crate) permissions: &'static [&'static str],
}

/// A request of a client, forwarded to the leader.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ForwardCall {
    pub(crate) authorization: Authorization,
    pub(crate) kind: ForwardKind,
    pub(crate) limits: WireDeadline,
    /// The batch; `None` for a barrier.
    pub(crate) batch: Option<Batch>,
    /// Whether a `PRAGMA foreign_keys` that cannot take effect is ignored. It is not part of the encoding of a batch.
    pub(crate) ignore_settings: bool,
}

/// The credentials of a forwarded request, and the permissions that it needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Authorization {
    pub(crate) credentials: Option<(String, String)>,
    pub(crate) permissions: Vec<String>,
}

impl Authorization {
    pub(crate) fn of(caller: &Caller) -> Authorization {
        let pair = |credentials: &Arc<Credentials>| (credentials.username.clone(), credentials.password.clone());
        Authorization {
            credentials: caller.credentials.as_ref().map(pair),
            permissions: caller.permissions.iter().map(|permission| (*permission).to_owned()).collect(),
        }
    }

    /// Returns whether `authorizer` permits the request.
    pub(crate) fn is_permitted(&self, authorizer: &dyn Authorizer) -> bool {
        if self.permissions.is_empty() {
            return true;
        }
        let credentials = self.credentials.as_ref();
        let credentials = credentials
            .map(|(username, password)| Credentials { username: username.clone(), password: password.clone() });
        let permissions: Vec<&str> = self.permissions.iter().map(String::as_str).collect();
        authorizer.permits(credentials.as_ref(), &permissions)
    }
}

/// The method of [`sqlhttp_core::Backend`] that a forwarded request calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ForwardKind {
    Execute,
    Request(WireLevel),
    Query(WireLevel),
    /// [`crate::Node::barrier`].
    Barrier,
}

/// A [`ReadLevel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum WireLevel {
    None,
    Weak,
    Linearizable,
    Strong,
    Auto,
}

impl From<ReadLevel> for WireLevel {
    fn from(level: ReadLevel) -> Self {
        match level {
            ReadLevel::None => WireLevel::None,
            ReadLevel::Weak => WireLevel::Weak,
            ReadLevel::Linearizable => WireLevel::Linearizable,
            ReadLevel::Strong => WireLevel::Strong,
            ReadLevel::Auto => WireLevel::Auto,
        }
    }
}

impl From<WireLevel> for ReadLevel {
    fn from(level: WireLevel) -> Self {
        match level {
            WireLevel::None => ReadLevel::None,
            WireLevel::Weak => ReadLevel::Weak,
            WireLevel::Linearizable => ReadLevel::Linearizable,
            WireLevel::Strong => ReadLevel::Strong,
            WireLevel::Auto => ReadLevel::Auto,
        }
    }
}

/// A [`Deadline`], as the milliseconds that remain: nodes have no common clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireDeadline {
    end_ms: Option<u64>,
    turn_ms: Option<u64>,
    without_default: bool,
}

impl WireDeadline {
    /// Encodes the limits that apply to writes.
    pub(crate) fn of_writes(deadline: Deadline) -> WireDeadline {
        WireDeadline::of(deadline.of_writes())
    }

    /// Encodes the limits that apply to reads.
    pub(crate) fn of(deadline: Deadline) -> WireDeadline {
        let now = clock::now();
        let left =
            |moment: Instant| u64::try_from(moment.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX);
        let (end_ms, turn_ms) = (deadline.moment().map(left), deadline.turn().map(left));
        WireDeadline { end_ms, turn_ms, without_default: deadline.is_without_default() }
    }

    pub(crate) fn deadline(self) -> Deadline {
        let now = clock::now();
        let after = |ms: Option<u64>| ms.map_or(Deadline::NEVER, |ms| Deadline::after(now, Duration::from_millis(ms)));
        let deadline = after(self.end_ms).and(after(self.turn_ms).for_turn_only());
        if self.without_default { deadline.without_default() } else { deadline }
    }
}

impl Request for ForwardCall {
    const KIND: u8 = 20;
    type Response = Result<Outcome, WireError>;
}

impl ForwardCall {
    pub(crate) fn new(caller: &Caller, kind: ForwardKind, batch: Option<Batch>, deadline: Deadline) -> ForwardCall {
        let limits = match kind {
            ForwardKind::Query(_) => WireDeadline::of(deadline),
            _ => WireDeadline::of_writes(deadline),
        };
        let ignore_settings = batch.as_ref().is_some_and(|batch| batch.settings == Settings::Ignore);
        ForwardCall { authorization: Authorization::of(caller), kind, limits, batch, ignore_settings }
    }

    /// Takes the batch; an empty one for a barrier.
    pub(crate) fn take_batch(&mut self) -> Batch {
        let batch = self.batch.take().unwrap_or_default();
        let settings = if self.ignore_settings { Settings::Ignore } else { Settings::Refuse };
        Batch { settings, ..batch }
    }
}

/// Asks the leader whether a client has the permissions for a read that the follower runs itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AuthorizeCall(pub(crate) Authorization);

impl Request for AuthorizeCall {
    const KIND: u8 = 21;
    type Response = bool;
}

/// An [`Error`] of the leader. New variants are added only at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum WireError {
    /// The node is not leader, or not ready. Nothing took effect.
    NoLeader,
    Overloaded,
    Timeout,
    Busy(SqlError),
    Closed,
    Unavailable(String),
    Unknown,
    LeadershipLost,
    Poisoned(String),
    Unsupported(String),
    Unauthorized,
    /// Another error, as its message.
    Other(String),
}

impl From<Error> for WireError {
    fn from(error: Error) -> Self {
        match error {
            Error::NoLeader | Error::Removed => WireError::NoLeader,
            Error::Overloaded(_) => WireError::Overloaded,
            Error::Timeout => WireError::Timeout,
            Error::Busy(error) => WireError::Busy(error),
            Error::Closed => WireError::Closed,
            Error::Unavailable(why) => WireError::Unavailable(why.to_string()),
            Error::Unknown => WireError::Unknown,
            Error::LeadershipLost => WireError::LeadershipLost,
            Error::Poisoned(why) => WireError::Poisoned(why.to_string()),
            Error::Unsupported(why) => WireError::Unsupported(why),
            Error::Unauthorized => WireError::Unauthorized,
            error @ (Error::ReadOnly
            | Error::Sqlite { .. }
            | Error::Io { .. }
            | Error::ConnectionLost(_)
            | Error::Failed { .. }
            | Error::Row(_)) => WireError::Other(error.to_string()),
        }
    }
}

impl From<WireError> for Error {
    fn from(error: WireError) -> Self {
        match error {
            WireError::NoLeader => Error::NoLeader,
            WireError::Overloaded => Error::Overloaded("too many writes are waiting at the leader"),
            WireError::Timeout => Error::Timeout,
            WireError::Busy(error) => Error::Busy(error),
            WireError::Unavailable(why) => Error::Unavailable(why.into()),
            WireError::Unknown => Error::Unknown,
            // A leader that is being closed or has failed may have appended the write already.
            WireError::LeadershipLost | WireError::Closed | WireError::Poisoned(_) => Error::LeadershipLost,
            WireError::Unsupported(why) | WireError::Other(why) => Error::Unsupported(why),
            WireError::Unauthorized => Error::Unauthorized,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_survives_encoding() {
        let now = clock::now();
        let limits = Deadline::after(now, Duration::from_secs(5))
            .and(Deadline::after(now, Duration::from_secs(2)).for_turn_only())
            .without_default();
        let decoded = WireDeadline::of_writes(limits).deadline();
        let close = |moment: Option<Instant>, wanted: u64| {
            let left = moment.map(|moment| moment.saturating_duration_since(now));
            left.is_some_and(|left| {
                left.as_secs_f64() > wanted as f64 - 1.0 && left.as_secs_f64() < wanted as f64 + 1.0
            })
        };
        assert!(close(decoded.moment(), 5) && close(decoded.turn(), 2), "{decoded:?}");
        assert!(decoded.is_without_default());
        assert_eq!(WireDeadline::of(Deadline::NEVER).deadline(), Deadline::NEVER);
    }

    #[test]
    fn a_write_whose_outcome_is_unknown_stays_unknown() {
        let failed = WireError::from(Error::Poisoned("the disk has failed".into()));
        assert!(matches!(Error::from(failed), Error::LeadershipLost));
        assert!(matches!(Error::from(WireError::from(Error::Closed)), Error::LeadershipLost));
        assert!(matches!(Error::from(WireError::from(Error::Unknown)), Error::Unknown));
        assert!(matches!(Error::from(WireError::from(Error::LeadershipLost)), Error::LeadershipLost));
    }
}
