//! `/readyz`: whether the database can serve.

use sqlhttp_core::{Batch, Failure, ReadLevel, Step, StepOutcome};
use sqlhttp_rqlite::{Params, Readiness, encode_readiness};

use super::statements;
use crate::api::exchange::{Exchange, until};
use crate::api::rqlite::reply::from_protocol;
use crate::http::reply::HttpResponse;

/// A single database is its own leader, and has always applied what was committed.
pub(crate) async fn answer(exchange: &Exchange<'_>, params: &Params) -> HttpResponse {
    let why = if params.noleader { None } else { Some(trouble(exchange, params).await) };
    let damage = damage(exchange);
    let readiness = match &why {
        None => Readiness::Alive,
        Some(_) if exchange.context.is_stopping() => Readiness::StoreNotReady,
        Some(Some(why)) => Readiness::DatabaseFails(why),
        Some(None) => damage.as_deref().map_or(Readiness::Ready, Readiness::Damaged),
    };
    from_protocol(encode_readiness(readiness, params.sync))
}

/// The first line of the damage that the last check of the database has found, if it found any.
pub(crate) fn damage(exchange: &Exchange<'_>) -> Option<String> {
    exchange.database.status()?.last_check?.damages.first().cloned()
}

/// Why it cannot serve, if so.
pub(crate) async fn trouble(exchange: &Exchange<'_>, params: &Params) -> Option<String> {
    if let Some(why) = exchange.database.status().and_then(|status| status.poisoned.or(status.waits_for)) {
        return Some(why);
    }
    let deadline = statements::deadline(exchange, Some(params.timeout));
    let batch = Batch::one(Step::query("SELECT 1", ()));
    let outcome = async { exchange.database.backend.query(batch, ReadLevel::None, deadline).await?.whole().await };
    match until(deadline, outcome).await {
        Ok(outcome) => outcome.steps.into_iter().find_map(failure).map(|failure| failure.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

fn failure(step: StepOutcome) -> Option<Failure> {
    match step {
        StepOutcome::Failed(failure) => Some(failure),
        _ => None,
    }
}
