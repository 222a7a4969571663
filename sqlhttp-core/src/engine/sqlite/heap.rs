//! The memory that SQLite allocates, counted for each thread.
//!
//! SQLite's own limit (`sqlite3_hard_heap_limit64`, <https://sqlite.org/c3ref/hard_heap_limit64.html>) needs a mutex around
//! every allocation, and one statement that takes all of the memory makes every other one fail. Here a run has a limit of
//! its own: SQLite runs a statement on one thread from its beginning to its end, so a counter of the thread is enough.
//! Blocks that were allocated before the run, or are freed by another thread, make the count too low, never too high by
//! more than the caches of the connection.
//!
//! The blocks come from the global allocator of the program.

use std::alloc::{Layout, alloc, dealloc, realloc};
use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rusqlite::ffi;

/// The length of a block stands before it.
const HEADER: usize = 8;
const ALIGN: usize = 8;
/// Blocks of this length are counted for the whole process too.
const LARGE: usize = 64 << 10;

thread_local! {
    /// Bytes that this thread allocated since the run began, less those that it freed.
    static USED: Cell<usize> = const { Cell::new(0) };
    static USED_MAX: Cell<usize> = const { Cell::new(usize::MAX) };
    /// Set by another thread when the run has to end.
    static STOP: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
    /// Allocations, to look at the flag at some of them only.
    static ALLOCATIONS: Cell<u8> = const { Cell::new(0) };
    /// Whether an allocation has been refused since the run began.
    static REFUSED: Cell<Option<Refused>> = const { Cell::new(None) };
}

/// Bytes of all large blocks.
static LARGE_USED: AtomicUsize = AtomicUsize::new(0);
static LARGE_USED_MAX: AtomicUsize = AtomicUsize::new(usize::MAX);

/// The limit that an allocation did not fit into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The limit of one run.
    Run,
    /// The limit of all runs of the process.
    Process,
    /// The run has to end.
    Stop,
}

/// Has SQLite allocate with the allocator of the program and count the memory of each run, so that
/// [`Options::memory_bytes_max`](crate::Options::memory_bytes_max) has an effect. All runs of the process together may take
/// `bytes_max` bytes in blocks of 64 KiB and more.
///
/// Returns false if SQLite is initialised already: it then keeps its allocator, and memory is not limited.
///
/// # Safety
///
/// No other thread uses SQLite meanwhile (`sqlite3_config`, <https://sqlite.org/c3ref/config.html>). The beginning of
/// `main` is the place for this call.
pub unsafe fn install_allocator(bytes_max: u64) -> bool {
    let methods = ffi::sqlite3_mem_methods {
        xMalloc: Some(x_malloc),
        xFree: Some(x_free),
        xRealloc: Some(x_realloc),
        xSize: Some(x_size),
        xRoundup: Some(x_roundup),
        xInit: Some(x_init),
        xShutdown: Some(x_shutdown),
        pAppData: std::ptr::null_mut(),
    };
    LARGE_USED_MAX.store(usize::try_from(bytes_max).unwrap_or(usize::MAX), Ordering::Relaxed);
    // SAFETY: SQLite copies the structure. It refuses the call (SQLITE_MISUSE) once it is initialised; until then no block
    // of another allocator exists. The caller keeps other threads away.
    unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw const methods) == ffi::SQLITE_OK }
}

/// A run begins on this thread. It may allocate this many bytes, and nothing more once the flag is set.
///
/// SQLite looks at its interrupt flag at jumps only. A statement without a loop, or one that takes long to prepare, meets
/// an allocation much sooner.
pub(crate) fn begin_run(bytes_max: usize, stop: Option<&Arc<AtomicBool>>) {
    USED.set(0);
    USED_MAX.set(bytes_max);
    REFUSED.set(None);
    STOP.replace(stop.cloned());
}

/// The run ends.
pub(crate) fn end_run() {
    USED_MAX.set(usize::MAX);
    STOP.replace(None);
    REFUSED.set(None);
}

/// The limit that an allocation of the last run on this thread did not fit into.
pub(crate) fn refused() -> Option<Refused> {
    REFUSED.get()
}

/// Counts further bytes, if they are within the limits.
fn take(bytes: usize) -> bool {
    let used = USED.get().saturating_add(bytes);
    if used > USED_MAX.get() {
        REFUSED.set(Some(Refused::Run));
        return false;
    }
    let count = ALLOCATIONS.get().wrapping_add(1);
    ALLOCATIONS.set(count);
    if (bytes >= LARGE || count == 0) && must_stop() {
        REFUSED.set(Some(Refused::Stop));
        return false;
    }
    if bytes >= LARGE && !take_large(bytes) {
        return false;
    }
    USED.set(used);
    true
}

/// Whether the run has to end. (SQLite frees and allocates while a thread ends, when its variables are gone.)
#[cold]
fn must_stop() -> bool {
    STOP.try_with(|stop| stop.borrow().as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed))).unwrap_or(false)
}

#[cold]
fn take_large(bytes: usize) -> bool {
    let before = LARGE_USED.fetch_add(bytes, Ordering::Relaxed);
    let is_limited = USED_MAX.get() != usize::MAX;
    if is_limited && before.saturating_add(bytes) > LARGE_USED_MAX.load(Ordering::Relaxed) {
        LARGE_USED.fetch_sub(bytes, Ordering::Relaxed);
        REFUSED.set(Some(Refused::Process));
        return false;
    }
    true
}

/// Counts bytes without regard to the limits.
fn note(bytes: usize) {
    USED.set(USED.get().saturating_add(bytes));
    if bytes >= LARGE {
        LARGE_USED.fetch_add(bytes, Ordering::Relaxed);
    }
}

fn give_back(bytes: usize) {
    USED.set(USED.get().saturating_sub(bytes));
    if bytes >= LARGE {
        LARGE_USED.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The layout of a block of this length with its header. `None` if it is too long for any machine.
fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes.checked_add(HEADER)?, ALIGN).ok()
}

/// The length of a block.
///
/// # Safety
///
/// The pointer comes from [`x_malloc`] or [`x_realloc`], and has not been freed.
unsafe fn length_of(block: *mut c_void) -> usize {
    // SAFETY: the header precedes the block, and is aligned as the block is.
    unsafe { block.cast::<u8>().sub(HEADER).cast::<usize>().read() }
}

/// Writes the header, and returns the block behind it.
///
/// # Safety
///
/// `start` is null or begins a piece of memory of `HEADER + bytes` bytes, aligned to [`ALIGN`].
unsafe fn with_header(start: *mut u8, bytes: usize) -> *mut c_void {
    if start.is_null() {
        give_back(bytes);
        return std::ptr::null_mut();
    }
    // SAFETY: see above.
    unsafe {
        start.cast::<usize>().write(bytes);
        start.add(HEADER).cast()
    }
}

unsafe extern "C" fn x_malloc(bytes: c_int) -> *mut c_void {
    let Ok(bytes) = usize::try_from(bytes) else { return std::ptr::null_mut() };
    let Some(layout) = layout(bytes) else { return std::ptr::null_mut() };
    if !take(bytes) {
        return std::ptr::null_mut();
    }
    // SAFETY: the layout is not empty, because of the header.
    unsafe { with_header(alloc(layout), bytes) }
}

unsafe extern "C" fn x_free(block: *mut c_void) {
    if block.is_null() {
        return;
    }
    // SAFETY: SQLite passes blocks that `x_malloc` or `x_realloc` returned, once.
    unsafe {
        let bytes = length_of(block);
        give_back(bytes);
        if let Some(layout) = layout(bytes) {
            dealloc(block.cast::<u8>().sub(HEADER), layout);
        }
    }
}

unsafe extern "C" fn x_realloc(block: *mut c_void, bytes: c_int) -> *mut c_void {
    let Ok(bytes) = usize::try_from(bytes) else { return std::ptr::null_mut() };
    // SAFETY: SQLite passes blocks that `x_malloc` or `x_realloc` returned. The old block stays if this fails, with its
    // length in the count.
    unsafe {
        let before = length_of(block);
        let (Some(old), Some(new)) = (layout(before), layout(bytes)) else { return std::ptr::null_mut() };
        give_back(before);
        let moved = if take(bytes) {
            with_header(realloc(block.cast::<u8>().sub(HEADER), old, new.size()), bytes)
        } else {
            std::ptr::null_mut()
        };
        if moved.is_null() {
            note(before);
        }
        moved
    }
}

unsafe extern "C" fn x_size(block: *mut c_void) -> c_int {
    if block.is_null() {
        return 0;
    }
    // SAFETY: SQLite passes blocks that `x_malloc` or `x_realloc` returned.
    let bytes = unsafe { length_of(block) };
    c_int::try_from(bytes).unwrap_or(c_int::MAX)
}

unsafe extern "C" fn x_roundup(bytes: c_int) -> c_int {
    bytes.saturating_add(7) & !7
}

unsafe extern "C" fn x_init(_: *mut c_void) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_shutdown(_: *mut c_void) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_has_to_end_gets_no_more() {
        let stop = Arc::new(AtomicBool::new(false));
        begin_run(usize::MAX, Some(&stop));
        // SAFETY: the blocks are used as SQLite uses them.
        unsafe {
            x_free(x_malloc(LARGE as c_int));
            stop.store(true, Ordering::Relaxed);
            assert!(x_malloc(LARGE as c_int).is_null());
            assert_eq!(refused(), Some(Refused::Stop));
            let small: Vec<_> = (0..256).map(|_| x_malloc(8)).collect();
            assert_eq!(small.iter().filter(|block| block.is_null()).count(), 1);
            small.into_iter().for_each(|block| x_free(block));
            end_run();
            let block = x_malloc(LARGE as c_int);
            assert!(!block.is_null());
            x_free(block);
        }
    }

    #[test]
    fn blocks_grow_and_keep_their_content() {
        begin_run(1000, None);
        // SAFETY: the blocks are used as SQLite uses them.
        unsafe {
            let block = x_malloc(100);
            block.cast::<u8>().write_bytes(7, 100);
            assert_eq!(x_size(block), 100);
            assert!(x_realloc(block, 2000).is_null());
            assert_eq!((refused(), x_size(block)), (Some(Refused::Run), 100));
            let block = x_realloc(block, 800);
            assert_eq!((x_size(block), block.cast::<u8>().add(99).read()), (800, 7));
            x_free(block);
            assert_eq!(USED.get(), 0);
        }
        end_run();
    }

    /// The blocks of other tests are far smaller than these.
    #[test]
    fn all_runs_together_have_a_limit_for_large_blocks() {
        const HUGE: usize = 1 << 30;
        LARGE_USED_MAX.store(2 * HUGE + HUGE / 2, Ordering::Relaxed);
        begin_run(8 * HUGE, None);
        assert!(take(HUGE));
        let elsewhere = std::thread::spawn(|| {
            begin_run(8 * HUGE, None);
            let taken = [take(HUGE), take(HUGE)];
            let why = refused();
            // Small blocks do not count towards the limit of the process.
            assert!((0..3 * HUGE / (LARGE - 1)).all(|_| take(LARGE - 1)));
            end_run();
            // Nor is the engine's own work, which has no limit for its run.
            assert!(take(HUGE));
            give_back(HUGE);
            (taken, why)
        });
        assert_eq!(elsewhere.join().unwrap(), ([true, false], Some(Refused::Process)));
        assert!(!take(HUGE));
        assert_eq!(refused(), Some(Refused::Process));
        // The first block of the other thread is freed here.
        give_back(HUGE);
        assert!(take(HUGE));
        give_back(HUGE);
        give_back(HUGE);
        end_run();
        LARGE_USED_MAX.store(usize::MAX, Ordering::Relaxed);
    }
}
