//! `/readyz`: reports whether the database can serve requests.

use sqlhttp_core::{Batch, Failure, ReadLevel, Step, StepOutcome};
use sqlhttp_rqlite::{Params, Readiness, encode_readiness};

use super::reply::from_protocol;
use super::statements;
use crate::api::exchange::{Exchange, with_deadline};
use crate::http::reply::HttpResponse;

/// Handles a request to `/readyz` on the standalone server. There a database counts as its own leader that has applied
/// every committed write.
pub(crate) async fn answer(exchange: &Exchange<'_>, params: &Params) -> HttpResponse {
    if params.noleader {
        return from_protocol(encode_readiness(Readiness::Alive, params.sync));
    }
    let problem = database_problem(exchange, params).await;
    let damage = first_damage(exchange);
    let readiness = match &problem {
        _ if exchange.context.is_stopping() => Readiness::StoreNotReady,
        Some(why) => Readiness::DatabaseFails(why),
        None => damage.as_deref().map_or(Readiness::Ready, Readiness::Damaged),
    };
    from_protocol(encode_readiness(readiness, params.sync))
}

/// Returns the first damage that the last integrity check of the database has found; `None` if it has found none.
pub(crate) fn first_damage(exchange: &Exchange<'_>) -> Option<String> {
    exchange.database.status()?.last_check?.damages.first().cloned()
}

/// Runs a query to test whether the database can serve requests. Returns the reason if it cannot, and `None` if it can.
pub(crate) async fn database_problem(exchange: &Exchange<'_>, params: &Params) -> Option<String> {
    if let Some(why) = exchange.database.status().and_then(|status| status.poisoned.or(status.waits_for)) {
        return Some(why);
    }
    let deadline = statements::deadline(exchange, Some(params.timeout));
    let batch = Batch::one(Step::query("SELECT 1", ()));
    let outcome = async { exchange.database.backend.read_batch(batch, ReadLevel::None, deadline).await?.whole().await };
    match with_deadline(deadline, outcome).await {
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
