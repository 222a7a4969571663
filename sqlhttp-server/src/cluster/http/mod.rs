//! The HTTP endpoints of a node.
//!
//! * `boot`: `/boot`.
//! * `console`: `/console/`.
//! * `licenses`: `/licenses`.
//! * `members`: `/nodes`, `/leader`, `/remove` and `/readyz`.
//! * `request`: one request to a node.
//! * `route`: the endpoint of a path.
//! * `service`: authorizes requests and dispatches them to endpoints.
//! * `snapshots`: `/snapshot` and `/reap`.
//! * `status`: `/status`.
//! * `vars`: `/debug/vars`.

pub(crate) mod boot;
pub(crate) mod console;
pub(crate) mod licenses;
pub(crate) mod members;
pub(crate) mod request;
pub(crate) mod route;
pub(crate) mod service;
pub(crate) mod snapshots;
pub(crate) mod status;
pub(crate) mod vars;
