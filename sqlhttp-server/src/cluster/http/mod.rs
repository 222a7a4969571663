//! The endpoints of a node, one module each.

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
