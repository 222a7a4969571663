//! rqlite's data API: the endpoints that concern one database, for both programs.
//!
//! `service` holds the order of the checks, which clients depend on; each program supplies its paths and its
//! authorization. `endpoints` runs what has passed the checks.
//!
//! # Decisions
//!
//! * **Queued writes** are answered when they are durable. rqlite answers when they are in its queue in memory; here no
//!   write that was answered with 200 is lost.
//! * **A database file** that is sent to `/db/load` is checked before it replaces anything, and replaces all content in one
//!   transaction.

pub(crate) mod answer;
pub(crate) mod backup;
pub(crate) mod copy;
pub(crate) mod counters;
pub(crate) mod dump;
pub(crate) mod endpoints;
pub(crate) mod identity;
pub(crate) mod members;
pub(crate) mod queue;
pub(crate) mod queued_writes;
pub(crate) mod readyz;
pub(crate) mod reply;
pub(crate) mod resource;
pub(crate) mod service;
pub(crate) mod statements;
pub(crate) mod status;
