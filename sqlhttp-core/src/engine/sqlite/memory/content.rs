//! The bytes of a file, in chunks, so that growing moves nothing.

use rusqlite::ffi;

use crate::engine::sqlite::file::Code;

/// Bytes of a chunk: large beside a page, small beside a database.
pub(super) const CHUNK_LEN: usize = 64 << 10;

type Chunk = Box<[u8]>;

/// The bytes of a file. Those of its chunks that lie beyond its end are zeros.
#[derive(Debug, Default)]
pub(super) struct Content {
    chunks: Vec<Chunk>,
    len: usize,
}

impl Content {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Copies what there is into the beginning of the buffer. Returns how much that was.
    pub(super) fn read(&self, offset: usize, buffer: &mut [u8]) -> usize {
        let there = self.len.saturating_sub(offset).min(buffer.len());
        let mut rest = &mut buffer[..there];
        let mut at = offset;
        while !rest.is_empty() {
            let source = &self.chunks[at / CHUNK_LEN][at % CHUNK_LEN..];
            let piece = source.len().min(rest.len());
            let (now, later) = rest.split_at_mut(piece);
            now.copy_from_slice(&source[..piece]);
            rest = later;
            at += piece;
        }
        there
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

    /// Makes the file so long. What it no longer needs is returned, so that the caller frees it when nobody waits for
    /// the file.
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

    /// Makes room for so many bytes, if the system has it.
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

    /// How much memory it takes, bytes.
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
    enum Act {
        Write(usize, Vec<u8>),
        SetLen(usize),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let offset = || prop_oneof![0..3 * CHUNK_LEN, Just(CHUNK_LEN), Just(2 * CHUNK_LEN)];
        let bytes = (1..=255_u8, prop_oneof![0..100_usize, CHUNK_LEN - 1..2 * CHUNK_LEN + 1]);
        let write = (offset(), bytes).prop_map(|(offset, (byte, len))| Act::Write(offset, vec![byte; len]));
        proptest::collection::vec(prop_oneof![write, offset().prop_map(Act::SetLen)], 1..12)
    }

    proptest! {
        #[test]
        fn it_holds_what_a_vector_would(acts in acts(), offset in 0..3 * CHUNK_LEN, len in 0..2 * CHUNK_LEN) {
            let (mut content, mut model) = (Content::default(), Vec::new());
            for act in acts {
                match act {
                    Act::Write(offset, bytes) => {
                        content.write(offset, &bytes).expect("room");
                        model.resize(model.len().max(offset + bytes.len()), 0);
                        model[offset..offset + bytes.len()].copy_from_slice(&bytes);
                    }
                    Act::SetLen(len) => {
                        content.set_len(len).expect("room");
                        model.resize(len, 0);
                    }
                }
                prop_assert_eq!(content.len(), model.len());
                prop_assert_eq!(content.allocated(), model.len().next_multiple_of(CHUNK_LEN));
            }
            let mut buffer = vec![0; len];
            let there = content.read(offset, &mut buffer);
            prop_assert_eq!(&buffer[..there], &model[offset.min(model.len())..(offset + len).min(model.len())]);
            prop_assert!(buffer[there..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn what_cannot_be_had_is_refused_and_nothing_changes() {
        let mut content = Content::default();
        content.write(0, b"here").expect("room");
        assert_eq!(content.write(usize::MAX, b"there"), Err(ffi::SQLITE_FULL));
        assert_eq!((content.len(), content.allocated()), (4, CHUNK_LEN));
    }
}
