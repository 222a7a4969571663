//! The HTTP endpoints of a node.
//!
//! * `boot`: the endpoint `/boot`.
//! * `console`: the page `/console/`.
//! * `licenses`: the endpoint `/licenses`.
//! * `members`: the endpoints `/nodes`, `/leader` and `/remove`.
//! * `readyz`: the endpoint `/readyz`.
//! * `request`: one request to a node, with the context of its handler.
//! * `route`: finds the endpoint of a path.
//! * `service`: authorizes requests and dispatches them to endpoints.
//! * `snapshots`: the endpoints `/snapshot` and `/reap`.
//! * `status`: the endpoint `/status`.
//! * `vars`: the endpoint `/debug/vars`.
//! * `verify`: the endpoint `/verify`.

pub(crate) mod boot;
pub(crate) mod console;
pub(crate) mod licenses;
pub(crate) mod members;
pub(crate) mod readyz;
pub(crate) mod request;
pub(crate) mod route;
pub(crate) mod service;
pub(crate) mod snapshots;
pub(crate) mod status;
pub(crate) mod vars;
pub(crate) mod verify;
