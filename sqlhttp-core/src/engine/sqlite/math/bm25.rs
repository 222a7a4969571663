//! The function `bm25()` of FTS5 (<https://sqlite.org/fts5.html#the_bm25_function>), computed in Rust. It is also the
//! default of the column `rank`.
//!
//! SQLite's implementation uses the logarithm of the C library; see [`super`]. This one computes the same formula, with
//! the operations in the same order.

use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rusqlite::{Connection, ffi};

/// The constants `k1` and `b` of the formula.
const K1: f64 = 1.2;
const B: f64 = 0.75;
/// The inverse document frequency of a phrase that is in more than half of the rows.
const MINIMUM: f64 = 1e-6;

/// Registers the function with FTS5. Does nothing if SQLite was compiled without FTS5.
pub(super) fn register(connection: &Connection) -> rusqlite::Result<()> {
    let Some(api) = api_of(connection) else { return Ok(()) };
    // SAFETY: `api_of` returns an interface that lives as long as the connection. FTS5 copies the name.
    let code = unsafe {
        let create = (*api).xCreateFunction;
        create.map_or(ffi::SQLITE_OK, |create| create(api, c"bm25".as_ptr(), std::ptr::null_mut(), Some(bm25), None))
    };
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
    }
}

/// Returns the interface of FTS5 on a connection (<https://sqlite.org/fts5.html#extending_fts5>); `None` if there is no
/// FTS5.
fn api_of(connection: &Connection) -> Option<*mut ffi::fts5_api> {
    let mut api: *mut ffi::fts5_api = std::ptr::null_mut();
    let mut statement = std::ptr::null_mut();
    // SAFETY: the handle is valid as long as the connection lives, and the SQL text ends in a NUL. The statement is
    // finalized before `api`, to which a parameter of it points, goes out of scope. All functions accept a null
    // statement, which `sqlite3_prepare_v2` returns on failure.
    unsafe {
        let sql = c"SELECT fts5(?1)".as_ptr();
        ffi::sqlite3_prepare_v2(connection.handle(), sql, -1, &raw mut statement, std::ptr::null_mut());
        ffi::sqlite3_bind_pointer(statement, 1, (&raw mut api).cast(), c"fts5_api_ptr".as_ptr(), None);
        ffi::sqlite3_step(statement);
        ffi::sqlite3_finalize(statement);
    }
    (!api.is_null()).then_some(api)
}

unsafe extern "C" fn bm25(
    api: *const ffi::Fts5ExtensionApi,
    context: *mut ffi::Fts5Context,
    result: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: FTS5 passes its interface, the current row, and `count` values, all valid during the call.
    let (row, weights) = unsafe {
        let weights: Vec<f64> = (0..usize::try_from(count).unwrap_or(0))
            .map(|index| ffi::sqlite3_value_double(*values.add(index)))
            .collect();
        (Row { api: &*api, context }, weights)
    };
    let score = catch_unwind(AssertUnwindSafe(|| row.score(&weights)));
    // SAFETY: SQLite passes a valid context for the result.
    unsafe {
        match score {
            Ok(Ok(score)) => ffi::sqlite3_result_double(result, score),
            Ok(Err(code)) => ffi::sqlite3_result_error_code(result, code),
            Err(_) => ffi::sqlite3_result_error_code(result, ffi::SQLITE_INTERNAL),
        }
    }
}

/// The properties of a query that are the same for all of its rows.
struct Query {
    /// The average number of tokens in a row.
    average_len: f64,
    /// The inverse document frequency of each phrase.
    inverse_frequencies: Vec<f64>,
}

/// The current row of a query, and the interface of FTS5.
struct Row<'a> {
    api: &'a ffi::Fts5ExtensionApi,
    context: *mut ffi::Fts5Context,
}

/// Calls a function of FTS5's interface with the context of a row, and returns SQLite's result code as an error.
macro_rules! call {
    ($row:expr, $function:ident $(, $argument:expr)*) => {{
        let function = $row.api.$function.ok_or(ffi::SQLITE_MISUSE)?;
        // SAFETY: the interface and the context are valid while the function runs for a row. All pointers among the
        // arguments point to local variables.
        match unsafe { function($row.context $(, $argument)*) } {
            ffi::SQLITE_OK => {}
            code => return Err(code),
        }
    }};
}

impl Row<'_> {
    /// The negated score of the row. `weights` are those of the columns; a column without a weight has the weight 1.
    fn score(&self, weights: &[f64]) -> Result<f64, c_int> {
        let query = self.query()?;
        let frequencies = self.frequencies(query.inverse_frequencies.len(), weights)?;
        let mut tokens: c_int = 0;
        call!(self, xColumnSize, -1, &raw mut tokens);
        let len = f64::from(tokens) / query.average_len;
        let mut score = 0.0;
        for (frequency, inverse) in frequencies.iter().zip(&query.inverse_frequencies) {
            score += inverse * ((frequency * (K1 + 1.0)) / (frequency + K1 * (1.0 - B + B * len)));
        }
        Ok(-score)
    }

    /// Returns how often each phrase occurs in the row; an occurrence counts with the weight of its column.
    fn frequencies(&self, phrases: usize, weights: &[f64]) -> Result<Vec<f64>, c_int> {
        let mut frequencies = vec![0.0; phrases];
        let mut count: c_int = 0;
        call!(self, xInstCount, &raw mut count);
        for index in 0..count {
            let (mut phrase, mut column, mut offset): (c_int, c_int, c_int) = (0, 0, 0);
            call!(self, xInst, index, &raw mut phrase, &raw mut column, &raw mut offset);
            let weight = usize::try_from(column).ok().and_then(|column| weights.get(column)).unwrap_or(&1.0);
            if let Some(frequency) = usize::try_from(phrase).ok().and_then(|phrase| frequencies.get_mut(phrase)) {
                *frequency += weight;
            }
        }
        Ok(frequencies)
    }

    /// Returns the properties of the query, which are computed for its first row.
    fn query(&self) -> Result<&Query, c_int> {
        let get = self.api.xGetAuxdata.ok_or(ffi::SQLITE_MISUSE)?;
        // SAFETY: FTS5 returns null or the pointer that was set below. It keeps the pointer until the query ends, and
        // this function runs for one row at a time.
        let known = unsafe { get(self.context, 0).cast::<Query>().as_ref() };
        if let Some(query) = known {
            return Ok(query);
        }
        let query = Box::into_raw(Box::new(self.compute_query()?));
        // If this fails, FTS5 has dropped the query.
        call!(self, xSetAuxdata, query.cast(), Some(drop_query));
        // SAFETY: the pointer comes from a box, and FTS5 keeps it until the query ends.
        Ok(unsafe { &*query })
    }

    fn compute_query(&self) -> Result<Query, c_int> {
        let (mut rows, mut tokens): (i64, i64) = (0, 0);
        call!(self, xRowCount, &raw mut rows);
        call!(self, xColumnTotalSize, -1, &raw mut tokens);
        let count = self.api.xPhraseCount.ok_or(ffi::SQLITE_MISUSE)?;
        // SAFETY: see `call`.
        let phrases = unsafe { count(self.context) };
        let inverse = |phrase| -> Result<f64, c_int> {
            let mut hits: i64 = 0;
            call!(self, xQueryPhrase, phrase, (&raw mut hits).cast(), Some(count_row));
            let inverse = libm::log(((rows - hits) as f64 + 0.5) / (hits as f64 + 0.5));
            Ok(if inverse <= 0.0 { MINIMUM } else { inverse })
        };
        let inverse_frequencies = (0..phrases).map(inverse).collect::<Result<_, _>>()?;
        Ok(Query { average_len: tokens as f64 / rows as f64, inverse_frequencies })
    }
}

unsafe extern "C" fn count_row(_: *const ffi::Fts5ExtensionApi, _: *mut ffi::Fts5Context, hits: *mut c_void) -> c_int {
    // SAFETY: the pointer is that of the local variable in `compute_query`.
    unsafe { *hits.cast::<i64>() += 1 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn drop_query(query: *mut c_void) {
    // SAFETY: the pointer comes from a box in `Row::query`, and FTS5 calls this function once.
    drop(unsafe { Box::from_raw(query.cast::<Query>()) });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A table with `rows` rows of two words; `hits` of them contain `a`.
    fn table(rows: u32, hits: u32, is_registered: bool) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        if is_registered {
            register(&connection).unwrap();
        }
        connection.execute_batch("CREATE VIRTUAL TABLE f USING fts5(t, u)").unwrap();
        for row in 0..rows {
            let text = if row < hits { "a b" } else { "c c" };
            connection.execute("INSERT INTO f VALUES (?, 'd')", [text]).unwrap();
        }
        connection
    }

    fn ranks(connection: &Connection, rank: &str) -> Vec<f64> {
        let sql = format!("SELECT {rank} FROM f WHERE f MATCH 'a OR \"c c\" OR d' ORDER BY rank, rowid");
        let mut rows = connection.prepare(&sql).unwrap();
        rows.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
    }

    /// The logarithms of glibc and of `libm` differ for these numbers of rows and hits.
    #[test]
    fn the_logarithm_is_that_of_libm() {
        for (rows, hits) in [(5, 1), (5, 2), (8, 2), (13, 3), (17, 7)] {
            let connection = table(rows, hits, true);
            let rank: f64 = connection.query_row("SELECT rank FROM f WHERE f MATCH 'a'", [], |row| row.get(0)).unwrap();
            let inverse = libm::log((f64::from(rows - hits) + 0.5) / (f64::from(hits) + 0.5));
            // The row has the average length.
            assert_eq!(rank.to_bits(), (-(inverse * (2.2 / 2.2))).to_bits(), "{hits} of {rows}");
        }
    }

    #[test]
    fn the_scores_are_those_of_sqlite() {
        for (rows, hits) in [(3, 1), (10, 4), (40, 30)] {
            let (own, other) = (table(rows, hits, true), table(rows, hits, false));
            for rank in ["rank", "bm25(f)", "bm25(f, 10.0)", "bm25(f, 0.5, '3', 9)"] {
                let (own, other) = (ranks(&own, rank), ranks(&other, rank));
                assert_eq!(own.len(), other.len());
                let close = |(own, other): (&f64, &f64)| (own - other).abs() <= own.abs() * 1e-14;
                assert!(own.iter().zip(&other).all(close), "{rank}: {own:?} {other:?}");
            }
        }
    }
}
