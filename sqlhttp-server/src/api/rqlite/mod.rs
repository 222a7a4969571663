//! rqlite's data API, which both programs serve: the endpoints that concern one database.
//!
//! * `answer`: the response to a request with SQL statements.
//! * `backup`: `/db/backup`, which downloads the database.
//! * `copy`: the temporary copies of databases from which backups and dumps are read.
//! * `counters`: the counters that `/debug/vars` shows.
//! * `dump`: the SQL text that rebuilds a database.
//! * `endpoints`: dispatches requests that have passed all checks.
//! * `identity`: the data about this server that rqlite's API shows.
//! * `members`: `/nodes` and `/leader` on the standalone server.
//! * `queue`: `/db/execute?queue`, which executes queued writes.
//! * `queued_writes`: the trait for executing queued writes, and an implementation without a queue.
//! * `readyz`: `/readyz` on the standalone server, and the checks that a cluster node also makes.
//! * `redirect`: the parameter `redirect`, which redirects a client to the leader.
//! * `reply`: functions that build responses in rqlite's format.
//! * `resource`: the type whose variants are the endpoints.
//! * `service`: the order of the checks of a request, on which clients depend. Each program supplies its paths and its
//!   authorization.
//! * `statements`: the endpoints whose request body is SQL.
//! * `status`: `/status` on the standalone server, and the data that a cluster node also shows.
//! * `verify`: `/verify` on the standalone server.
//!
//! # Decisions
//!
//! * **Queued writes** are acknowledged when they are durable, so no write that was acknowledged with status 200 is
//!   lost. rqlite acknowledges them when they are in its queue in memory.
//! * **A database file** that is sent to `/db/load` is checked first. Then it replaces the whole content of the
//!   database, or nothing.

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
pub(crate) mod redirect;
pub(crate) mod reply;
pub(crate) mod resource;
pub(crate) mod service;
pub(crate) mod statements;
pub(crate) mod status;
pub(crate) mod verify;
