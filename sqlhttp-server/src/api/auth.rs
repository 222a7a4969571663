//! The users of a database, and the tokens of its macros and backups (ws4sqlite, sqliterg).
//!
//! The server stores passwords as SHA-256 digests only, and compares them in constant time. Checking an unknown user
//! costs as much as checking a wrong password. The response to a failed login is delayed, see
//! [`LoginDelays`](crate::api::login_delay::LoginDelays).

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
    /// The place of credentials in a request.
    pub mode: AuthMode,
    /// The users that may use the database.
    pub users: Users,
    /// The HTTP status of a refusal; 401 unless configured.
    pub error_code: u16,
}

/// The place of credentials in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// The `Authorization: Basic` header.
    Http,
    /// The `credentials` object of the body.
    Inline,
}

/// The users that may use a database.
#[derive(Debug, Clone)]
pub enum Users {
    /// The users for which this query returns a row. Its parameters are `user` and `password`.
    ByQuery(Arc<str>),
    /// The SHA-256 of the password of each user, by user name.
    ByCredentials(HashMap<String, [u8; 32]>),
}

/// The access to a macro or a backup over HTTP.
#[derive(Debug, Clone)]
pub struct TokenConfig {
    /// The SHA-256 of the token that the client must send; `None` requires no token.
    pub token_sha256: Option<[u8; 32]>,
    /// The HTTP status of a refusal; 401 unless configured.
    pub error_code: u16,
}

/// The result of checking credentials.
#[derive(Debug)]
pub(crate) enum CredentialCheck {
    /// The user exists and the password is right.
    Valid,
    /// The user does not exist, or the password is wrong.
    Invalid,
    /// The database could not run the query that looks up the user.
    Failed(Error),
}

/// Checks credentials against the users of a database.
pub(crate) async fn check(
    users: &Users,
    credentials: &BasicCredentials,
    backend: &dyn Backend,
    deadline: Deadline,
) -> CredentialCheck {
    match users {
        Users::ByCredentials(known) => {
            let expected = known.get(&credentials.username);
            // Unknown users are compared too, so that the time of the check does not reveal which users exist.
            let equal = digests_equal(&sha256(&credentials.password), expected.unwrap_or(&[0; 32]));
            if expected.is_some() & equal { CredentialCheck::Valid } else { CredentialCheck::Invalid }
        }
        Users::ByQuery(sql) => {
            let named = [("user", credentials.username.as_str()), ("password", credentials.password.as_str())];
            let batch = Batch::one(Step::query(sql.clone(), Bindings::named(named)));
            // A read sees committed data only, so a user that a running transaction has inserted cannot log in yet.
            let answer = backend.query(batch, ReadLevel::Weak, deadline).await;
            check_rows(answer).await
        }
    }
}

/// Reads the result of the query that looks up a user. Credentials are valid if it has a row, whatever the row
/// contains.
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

/// Logs the failure of the query that looks up users. The client receives no details.
fn log_failed_query(failure: &Failure) {
    tracing::error!("the query that checks credentials has failed: {failure}");
}

/// Returns whether a token has the expected SHA-256. `None` as the expected digest allows every client.
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

        fn query(&self, _: Batch, _: ReadLevel, _: Deadline) -> sqlhttp_core::BoxFuture<'_, Result<Answer, Error>> {
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
        // The hash is not accepted as a password.
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
