//! The API tokens as this instance knows them.
//!
//! All of them are read at once, at most once in a moment: so whoever sends tokens that
//! there are not costs the store nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use fleetbeat_daemon::lock::lock;
use fleetbeat_protocol::Timestamp;
use subtle::ConstantTimeEq;

use super::known_users::{DOUBTED_AFTER, FRESH_FOR, REMEMBERED_FOR, WhileAway};
use super::token_text::TokenText;
use crate::store::{Act, ApiToken, ApiTokenStore, StoreError};

const SECONDS_OF_A_DAY: i64 = 24 * 60 * 60;

/// The tokens, as read from the store.
pub(super) struct ApiTokens {
    store: Arc<dyn ApiTokenStore>,
    known: Mutex<Known>,
    /// Held while a token is added, because a user may have so many only.
    adding: Mutex<()>,
}

/// What was read, and when.
#[derive(Default)]
struct Known {
    at: Option<Instant>,
    by_id: HashMap<String, ApiToken>,
}

impl ApiTokens {
    /// None has been read yet.
    pub(super) fn new(store: Arc<dyn ApiTokenStore>) -> ApiTokens {
        ApiTokens {
            store,
            known: Mutex::default(),
            adding: Mutex::default(),
        }
    }

    /// Adds a token, unless its user has `max` of them already; tells whether it has added
    /// it. Tokens are added one after the other.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub(super) fn add(
        &self,
        token: &ApiToken,
        max: usize,
        act: &Act,
    ) -> Result<bool, StoreError> {
        let _adding = lock(&self.adding);
        let all = self.store.api_tokens()?;
        let of_user = all.iter().filter(|other| other.user_id == token.user_id);
        if of_user.count() >= max {
            return Ok(false);
        }
        self.store.add_api_token(token, act)?;
        self.changed();
        Ok(true)
    }

    /// The token that was shown, if there is one.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) fn find(
        &self,
        shown: &TokenText,
        while_away: WhileAway,
    ) -> Result<Option<ApiToken>, StoreError> {
        let now = Instant::now();
        let (token, age) = self.recall(shown, now);
        let fresh_for = token.as_ref().map_or(DOUBTED_AFTER, |_| FRESH_FOR);
        if age.is_some_and(|age| age < fresh_for) {
            return Ok(token);
        }

        match self.store.api_tokens() {
            Ok(tokens) => {
                let by_id = tokens.into_iter().map(|token| (token.id.clone(), token));
                *lock(&self.known) = Known {
                    at: Some(now),
                    by_id: by_id.collect(),
                };
                Ok(self.recall(shown, now).0)
            }
            Err(_)
                if while_away == WhileAway::Remember
                    && age.is_some_and(|age| age < REMEMBERED_FOR) =>
            {
                Ok(token)
            }
            Err(error) => Err(error),
        }
    }

    /// The token as it is known, and how long ago the store was read.
    fn recall(
        &self,
        shown: &TokenText,
        now: Instant,
    ) -> (Option<ApiToken>, Option<Duration>) {
        let known = lock(&self.known);
        let hash = HEXLOWER.encode(&shown.hash());
        let is_shown =
            |token: &&ApiToken| bool::from(token.hash.as_bytes().ct_eq(hash.as_bytes()));
        let token = known.by_id.get(shown.id()).filter(is_shown).cloned();
        (token, known.at.map(|at| now.duration_since(at)))
    }

    /// This instance has changed the tokens.
    pub(super) fn changed(&self) {
        lock(&self.known).at = None;
    }

    /// Notes the day of a token's use. That it cannot be stored is not worth a word.
    pub(super) fn note_use(&self, id: &str, now: Timestamp) {
        let second = now.as_second();
        let midnight = second - second.rem_euclid(SECONDS_OF_A_DAY);
        let day = Timestamp::from_second(midnight).unwrap_or(now);
        let is_news = match lock(&self.known).by_id.get_mut(id) {
            Some(token) => token.last_used_on.replace(day) != Some(day),
            None => false,
        };
        if is_news && let Err(error) = self.store.note_api_token_use(id, day) {
            log::debug!("the use of an API token is not noted: {error}");
        }
    }
}
