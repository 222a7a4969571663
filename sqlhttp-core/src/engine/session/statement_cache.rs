//! The cache of prepared statements of a session.
//!
//! Consecutive batches mostly run the same statement. So the most recently used statement has a field of its own:
//! taking it and putting it back compares one SQL text and computes no hash.

use std::sync::Arc;

use hashlink::LruCache;

use super::prepared::Prepared;
use crate::engine::statement_info::StatementInfo;

/// A cache of prepared statements by their SQL text.
#[derive(Debug)]
pub(crate) struct StatementCache {
    last: Option<Cached>,
    others: LruCache<Arc<str>, Box<Prepared>>,
}

#[derive(Debug)]
struct Cached {
    text: Arc<str>,
    prepared: Box<Prepared>,
}

impl StatementCache {
    /// Makes a cache for `len_max` statements. Even with 0 it caches one statement.
    pub(crate) fn new(len_max: usize) -> Self {
        StatementCache { last: None, others: LruCache::new(len_max.saturating_sub(1)) }
    }

    /// Returns the properties of the cached statement with this SQL text; `None` if it is not cached.
    pub(crate) fn info(&self, text: &str) -> Option<&StatementInfo> {
        let prepared = match &self.last {
            Some(cached) if *cached.text == *text => Some(&cached.prepared),
            _ => self.others.peek(text),
        };
        prepared.map(|prepared| &prepared.info)
    }

    /// Removes and returns the statement with this SQL text; `None` if it is not cached.
    pub(crate) fn take(&mut self, text: &str) -> Option<Box<Prepared>> {
        match self.last.take_if(|cached| *cached.text == *text) {
            Some(cached) => Some(cached.prepared),
            None => self.others.remove(text),
        }
    }

    /// Inserts a statement under its SQL text. A cached statement with the same text is replaced. If the cache is full,
    /// the least recently used statement is evicted.
    pub(crate) fn insert(&mut self, text: Arc<str>, prepared: Box<Prepared>) {
        let before = self.last.replace(Cached { text, prepared });
        if let (Some(before), Some(now)) = (before, &self.last)
            && before.text != now.text
        {
            self.others.insert(before.text, before.prepared);
        }
    }

    /// Removes and finalizes all cached statements.
    pub(crate) fn clear(&mut self) {
        self.last = None;
        self.others.clear();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rusqlite::Connection;

    use super::*;
    use crate::engine::sqlite::statement::Statement;

    fn insert(cache: &mut StatementCache, connection: &Connection, text: &str) {
        let sql = std::ffi::CString::new(text).unwrap();
        let statement = Statement::prepare(connection, &sql, true).unwrap().statement.unwrap();
        let info = StatementInfo { work: u32::try_from(text.len()).unwrap(), ..StatementInfo::default() };
        cache.insert(Arc::from(text), Box::new(Prepared::bare(statement, info)));
    }

    fn cached<'t>(cache: &StatementCache, texts: &[&'t str]) -> Vec<&'t str> {
        texts.iter().copied().filter(|text| cache.info(text).is_some()).collect()
    }

    #[test]
    fn the_least_recently_used_statement_is_evicted() {
        let connection = Connection::open_in_memory().unwrap();
        let texts = ["SELECT 1", "SELECT 22", "SELECT 333", "SELECT 4444"];
        let mut cache = StatementCache::new(3);
        texts[..3].iter().for_each(|text| insert(&mut cache, &connection, text));
        assert_eq!(cached(&cache, &texts), texts[..3]);
        let first = cache.take(texts[0]).unwrap();
        assert_eq!(first.info.work, 8);
        assert_eq!(cached(&cache, &texts), texts[1..3]);
        cache.insert(Arc::from(texts[0]), first);
        insert(&mut cache, &connection, texts[3]);
        assert_eq!(cached(&cache, &texts), [texts[0], texts[2], texts[3]]);
        cache.clear();
        assert_eq!(cached(&cache, &texts), [""; 0]);
    }

    #[test]
    fn a_text_is_cached_once() {
        let connection = Connection::open_in_memory().unwrap();
        let mut cache = StatementCache::new(1);
        insert(&mut cache, &connection, "SELECT 1");
        insert(&mut cache, &connection, "SELECT 1");
        assert!(cache.take("SELECT 1").is_some() && cache.take("SELECT 1").is_none());
        insert(&mut cache, &connection, "SELECT 1");
        insert(&mut cache, &connection, "SELECT 2");
        assert_eq!(cached(&cache, &["SELECT 1", "SELECT 2"]), ["SELECT 2"]);
    }
}
