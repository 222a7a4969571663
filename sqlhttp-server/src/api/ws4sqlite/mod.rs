//! ws4sqlite's protocol over HTTP.

pub(crate) mod answer;
pub(crate) mod cors;

pub(crate) use cors::CorsPolicy;
