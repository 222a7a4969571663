//! The content of a file in memory, stored in chunks, so that the content is not moved when the file grows.

use rusqlite::ffi;

use crate::engine::sqlite::file::Code;

/// The size of a chunk of a file in memory, in bytes: large compared with a page, small compared with a database.
pub(super) const CHUNK_LEN: usize = 64 << 10;

type Chunk = Box<[u8]>;

/// The content of a file. After the end of the file, the last chunk contains zeros.
#[derive(Debug, Default)]
pub(super) struct Content {
    chunks: Vec<Chunk>,
    len: usize,
}

impl Content {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Copies bytes of the file from `offset` into `buffer`. Returns the number of copied bytes, which is smaller than
    /// the length of `buffer` at the end of the file.
    pub(super) fn read(&self, offset: usize, buffer: &mut [u8]) -> usize {
        let available = self.len.saturating_sub(offset).min(buffer.len());
        let mut rest = &mut buffer[..available];
        let mut at = offset;
        while !rest.is_empty() {
            let source = &self.chunks[at / CHUNK_LEN][at % CHUNK_LEN..];
            let piece = source.len().min(rest.len());
            let (now, later) = rest.split_at_mut(piece);
            now.copy_from_slice(&source[..piece]);
            rest = later;
            at += piece;
        }
        available
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Code> {
        let end = offset.checked_add(bytes.len()).ok_or(ffi::SQLITE_FULL)?;
        self.reserve(end)?;
        let mut rest = bytes;
        let mut at = offset;
        while !rest.is_empty() {
            let target = &mut self.chunks[at / CHUNK_LEN][at % CHUNK_LEN..];
            let (now, later) = rest.split_at(target.len().min(rest.len()));
            target[..now.len()].copy_from_slice(now);
            rest = later;
            at += now.len();
        }
        self.len = self.len.max(end);
        Ok(())
    }

    /// Sets the length of the file. Returns the chunks that are no longer needed, so that the caller can free them
    /// after it has released the lock of the file.
    pub(super) fn set_len(&mut self, len: usize) -> Result<Vec<Chunk>, Code> {
        self.reserve(len)?;
        let freed = self.chunks.split_off(len.div_ceil(CHUNK_LEN));
        if len < self.len
            && let Some(last) = self.chunks.get_mut(len / CHUNK_LEN)
        {
            last[len % CHUNK_LEN..].fill(0);
        }
        self.len = len;
        Ok(freed)
    }

    /// Allocates the chunks that a file of `len` bytes needs. Fails with `SQLITE_FULL` if there is no memory.
    fn reserve(&mut self, len: usize) -> Result<(), Code> {
        while self.chunks.len() < len.div_ceil(CHUNK_LEN) {
            self.chunks.try_reserve(1).map_err(|_| ffi::SQLITE_FULL)?;
            let mut chunk = Vec::new();
            chunk.try_reserve_exact(CHUNK_LEN).map_err(|_| ffi::SQLITE_FULL)?;
            chunk.resize(CHUNK_LEN, 0);
            self.chunks.push(chunk.into_boxed_slice());
        }
        Ok(())
    }

    /// The size of the memory that the content occupies, in bytes.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        self.chunks.len() * CHUNK_LEN
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Change {
        Write(usize, Vec<u8>),
        SetLen(usize),
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let offset = || prop_oneof![0..3 * CHUNK_LEN, Just(CHUNK_LEN), Just(2 * CHUNK_LEN)];
        let bytes = (1..=255_u8, prop_oneof![0..100_usize, CHUNK_LEN - 1..2 * CHUNK_LEN + 1]);
        let write = (offset(), bytes).prop_map(|(offset, (byte, len))| Change::Write(offset, vec![byte; len]));
        proptest::collection::vec(prop_oneof![write, offset().prop_map(Change::SetLen)], 1..12)
    }

    proptest! {
        #[test]
        fn content_equals_that_of_a_vector(changes in changes(), offset in 0..3 * CHUNK_LEN, len in 0..2 * CHUNK_LEN) {
            let (mut content, mut model) = (Content::default(), Vec::new());
            for change in changes {
                match change {
                    Change::Write(offset, bytes) => {
                        content.write(offset, &bytes).expect("write");
                        model.resize(model.len().max(offset + bytes.len()), 0);
                        model[offset..offset + bytes.len()].copy_from_slice(&bytes);
                    }
                    Change::SetLen(len) => {
                        content.set_len(len).expect("set the length");
                        model.resize(len, 0);
                    }
                }
                prop_assert_eq!(content.len(), model.len());
                prop_assert_eq!(content.allocated(), model.len().next_multiple_of(CHUNK_LEN));
            }
            let mut buffer = vec![0; len];
            let available = content.read(offset, &mut buffer);
            prop_assert_eq!(&buffer[..available], &model[offset.min(model.len())..(offset + len).min(model.len())]);
            prop_assert!(buffer[available..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn a_write_that_does_not_fit_fails_and_changes_nothing() {
        let mut content = Content::default();
        content.write(0, b"here").expect("write");
        assert_eq!(content.write(usize::MAX, b"there"), Err(ffi::SQLITE_FULL));
        assert_eq!((content.len(), content.allocated()), (4, CHUNK_LEN));
    }
}
