//! `/verify` on the standalone server: the digest of the content of a database. It can be compared with that of a copy.

use hyper::StatusCode;
use sqlhttp_rqlite::{Params, Verification, VerifiedNode, encode_verification};

use super::copy::copy_error;
use super::reply::{error, from_protocol};
use crate::api::exchange::Exchange;
use crate::http::reply::{EarlyResponse, HttpResponse};

/// Handles a request to `/verify`. The only node in the reply has the id of the database as its name.
pub(crate) async fn answer(exchange: &Exchange<'_>, params: &Params) -> Result<HttpResponse, EarlyResponse> {
    let Some(copies) = &exchange.database.copies else {
        return Err(Box::new(error(StatusCode::NOT_IMPLEMENTED, "this database cannot be verified")));
    };
    let permit = exchange.context.identity.copy_permits.clone().try_acquire_owned();
    let _permit = permit
        .map_err(|_| Box::new(error(StatusCode::SERVICE_UNAVAILABLE, "too many backups and verifications at once")))?;
    let checked = copies.check_content(params.deep).await.map_err(|why| copy_error(&why))?;
    let error = (!checked.damages.is_empty()).then(|| checked.damages.join("; "));
    let equal = error.is_none();
    let node = VerifiedNode { digest: Some(format!("{:032x}", checked.digest)), error };
    let verification =
        Verification { equal, nodes: [(exchange.database.id.clone(), node)].into(), ..Verification::default() };
    Ok(from_protocol(encode_verification(&verification, true, params.pretty)))
}
