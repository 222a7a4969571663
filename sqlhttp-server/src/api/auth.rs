//! The users of a database, and the tokens for its macros and backups, as in ws4sqlite and sqliterg.
//!
//! The server stores only the SHA-256 digests of passwords, and compares digests in constant time. Checking an unknown
//! user takes as long as checking a wrong password. The response to a failed login is delayed by
//! `api::login_delay::LoginDelays`.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use sqlhttp_core::{
    Answer, Backend, Batch, Bindings, Deadline, Error, Failure, Outcome, Part, ReadLevel, Step, StepOutcome,
};
use subtle::ConstantTimeEq;

use crate::http::basic_auth::BasicCredentials;

/// The authentication settings of a database.
#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// Where a request contains its credentials.
    pub mode: AuthMode,
    /// The users that may use the database.
    pub users: Users,
    /// The HTTP status of the response to missing or wrong credentials. It is 401 unless another one is configured.
    pub error_code: u16,
}

/// Where a request contains its credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// In the header `Authorization`, with the Basic scheme.
    Http,
    /// In the object `credentials` of the request body.
    Inline,
}

/// The users that may use a database.
#[derive(Debug, Clone)]
pub enum Users {
    /// All users for which this SQL query returns a row. The parameters of the query are `user` and `password`.
    ByQuery(Arc<str>),
    /// The listed users: for each user name, the SHA-256 digest of the password.
    ByCredentials(HashMap<String, [u8; 32]>),
}

/// The access rule of a macro or of the backups.
#[derive(Debug, Clone)]
pub struct TokenConfig {
    /// The SHA-256 digest of the token that the client must send; `None` if no token is required.
    pub token_sha256: Option<[u8; 32]>,
    /// The HTTP status of the response to a missing or wrong token. It is 401 unless another one is configured.
    pub error_code: u16,
}

/// The result of checking the credentials of a request.
#[derive(Debug)]
pub(crate) enum CredentialCheck {
    /// The user exists and the password is right.
    Valid,
    /// The user does not exist, or the password is wrong.
    Invalid,
    /// The database could not run the query that looks up the user.
    Failed(Error),
}

/// Checks the credentials of a request against the users of a database.
pub(crate) async fn check(
    users: &Users,
    credentials: &BasicCredentials,
    backend: &dyn Backend,
    deadline: Deadline,
) -> CredentialCheck {
    match users {
        Users::ByCredentials(known) => {
            let expected = known.get(&credentials.username);
            // The digests are also compared if the user is unknown, so that the duration of the check does not reveal
            // which users exist.
            let equal = digests_equal(&sha256(&credentials.password), expected.unwrap_or(&[0; 32]));
            if expected.is_some() & equal { CredentialCheck::Valid } else { CredentialCheck::Invalid }
        }
        Users::ByQuery(sql) => {
            let named = [("user", credentials.username.as_str()), ("password", credentials.password.as_str())];
            let batch = Batch::one(Step::query(sql.clone(), Bindings::named(named)));
            // The read returns only committed data. So a user that an uncommitted transaction has inserted cannot log
            // in yet.
            let answer = backend.read_batch(batch, ReadLevel::Weak, deadline).await;
            check_rows(answer).await
        }
    }
}

/// Evaluates the result of the query that looks up a user. The credentials are valid if the result has at least one
/// row, regardless of the content of the row.
async fn check_rows(answer: Result<Answer, Error>) -> CredentialCheck {
    let found = match answer {
        Ok(Answer::Whole(outcome)) => Ok(row_in_outcome(&outcome)),
        Ok(Answer::Parts(mut parts)) => loop {
            match parts.next().await {
                Some(Ok(Part::Rows(block))) if !block.is_empty() => break Ok(true),
                Some(Ok(Part::Step(step, _))) => break Ok(row_in_step(&step)),
                Some(Ok(_)) => {}
                Some(Err(error)) => break Err(error),
                None => break Ok(false),
            }
        },
        Err(error) => Err(error),
    };
    match found {
        Ok(true) => CredentialCheck::Valid,
        Ok(false) => CredentialCheck::Invalid,
        Err(error) => CredentialCheck::Failed(error),
    }
}

fn row_in_outcome(outcome: &Outcome) -> bool {
    outcome.steps.first().is_some_and(row_in_step)
}

fn row_in_step(step: &StepOutcome) -> bool {
    match step {
        StepOutcome::Rows(rows) => !rows.is_empty(),
        StepOutcome::Failed(failure) => {
            log_failed_query(failure);
            false
        }
        StepOutcome::Changed(_) | StepOutcome::ChangedEach(_) => false,
    }
}

/// Logs that the query that looks up users has failed. The client receives no details.
fn log_failed_query(failure: &Failure) {
    tracing::error!("the query that checks credentials has failed: {failure}");
}

/// Returns whether a token has the expected SHA-256 digest. If no digest is expected (`None`), any client is accepted,
/// with or without a token.
pub(crate) fn token_matches(expected_sha256: Option<&[u8; 32]>, token: Option<&str>) -> bool {
    expected_sha256.is_none_or(|expected| digests_equal(&sha256(token.unwrap_or("")), expected) && token.is_some())
}

fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn digests_equal(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    struct NoBackend;

    impl Backend for NoBackend {
        fn request(&self, _: Batch, _: ReadLevel, _: Deadline) -> sqlhttp_core::BoxFuture<'_, Result<Answer, Error>> {
            Box::pin(async { Err(Error::Closed) })
        }

        fn read_batch(
            &self,
            _: Batch,
            _: ReadLevel,
            _: Deadline,
        ) -> sqlhttp_core::BoxFuture<'_, Result<Answer, Error>> {
            Box::pin(async { Err(Error::Closed) })
        }
    }

    async fn granted(users: &Users, user: &str, password: &str) -> bool {
        let credentials = BasicCredentials { username: user.into(), password: password.into() };
        matches!(check(users, &credentials, &NoBackend, Deadline::NEVER).await, CredentialCheck::Valid)
    }

    #[tokio::test]
    async fn known_users() {
        let zeros = ("zeros".to_owned(), [0; 32]);
        let users = Users::ByCredentials(HashMap::from([("pietro".to_owned(), sha256("hey")), zeros]));
        assert!(granted(&users, "pietro", "hey").await);
        assert!(!granted(&users, "pietro", "hex").await);
        assert!(!granted(&users, "PIETRO", "hey").await);
        assert!(!granted(&users, "", "").await);
        // The SHA-256 digest itself is not accepted as a password.
        let hash = "fa690b82061edfd2852629aeba8a8977b57e40fcb77d1a7a28b26cba62591204";
        assert!(!granted(&users, "pietro", hash).await);
        assert!(!granted(&Users::ByCredentials(HashMap::new()), "", "").await);
    }

    #[tokio::test]
    async fn a_failed_lookup_is_not_invalid_credentials() {
        let users = Users::ByQuery("SELECT 1".into());
        let credentials = BasicCredentials { username: "u".into(), password: "p".into() };
        let result = check(&users, &credentials, &NoBackend, Deadline::NEVER).await;
        assert!(matches!(result, CredentialCheck::Failed(Error::Closed)));
    }

    #[test]
    fn tokens() {
        let expected = sha256("secret");
        assert!(token_matches(Some(&expected), Some("secret")));
        assert!(!token_matches(Some(&expected), Some("Secret")));
        assert!(!token_matches(Some(&expected), None));
        assert!(!token_matches(Some(&sha256("")), None));
        assert!(token_matches(None, None));
        assert!(token_matches(None, Some("anything")));
    }
}
