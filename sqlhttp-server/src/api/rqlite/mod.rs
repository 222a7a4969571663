//! rqlite's data API: the endpoints that concern one database, for both programs.
//!
//! * `answer`: the response to a request with statements.
//! * `backup`: `/db/backup`.
//! * `copy`: the temporary copy of a database that backups and dumps read.
//! * `counters`: the counters that `/debug/vars` shows.
//! * `dump`: the SQL text of a database.
//! * `endpoints`: runs requests that have passed all checks.
//! * `identity`: the facts that rqlite's API shows about this server.
//! * `members`: `/nodes` and `/leader` of a single database.
//! * `queue`: `/db/execute?queue`.
//! * `queued_writes`: the trait that writes queued writes, and its implementation without a queue.
//! * `readyz`: `/readyz` of a single database, and the checks that a node shares.
//! * `reply`: responses in rqlite's format.
//! * `resource`: the endpoints as a type.
//! * `service`: the order of the checks of a request. Clients depend on it. Each program supplies its paths and its
//!   authorization.
//! * `statements`: the endpoints that take SQL.
//! * `status`: `/status` of a single database, and the facts that a node shares.
//!
//! # Decisions
//!
//! * **Queued writes** are acknowledged when they are durable. rqlite acknowledges them when they are in its queue in
//!   memory. Here no write that was acknowledged with 200 is lost.
//! * **A database file** that is sent to `/db/load` is checked first, and then replaces all content in one transaction.

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
