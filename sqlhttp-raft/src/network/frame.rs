//! The frames that nodes exchange.
//!
//! ```text
//! connection:  preface "sqlhttpN", then frames
//! frame:       length of the body u32, kind u8, id u32, CRC-32 of kind, id and body u32, body
//! ```
//!
//! All numbers are little-endian. The first frame in each direction is a hello ([`super::hello`]). After that, the side
//! that has opened the connection sends requests, and the other side sends one response to each, with the id of the
//! request. TCP's own checksum is too weak for data that users cannot lose, so each frame has a CRC.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The first bytes of a connection between nodes.
pub(super) const PREFACE: &[u8; 8] = b"sqlhttpN";
/// The length of a frame's header, in bytes.
const HEADER_BYTES: usize = 13;
/// The maximum length of the body of a frame, in bytes. It is above the maximum length of a Raft log entry.
pub(super) const BODY_BYTES_MAX: usize = (1 << 30) + (64 << 20);
/// The maximum length of the body of a frame before the hello of the peer has been accepted, in bytes.
pub(super) const HELLO_BYTES_MAX: usize = 64 << 10;
/// The memory that is reserved for a body before its bytes have arrived, in bytes. A peer that announces a long frame
/// must send it before this node allocates more.
const RESERVED_BYTES_MAX: usize = 1 << 20;

/// A frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    /// The id of the request, which its response repeats.
    pub(super) id: u32,
    pub(super) body: Vec<u8>,
}

/// Appends a frame to `out`. `write_body` appends the body.
///
/// # Errors
/// The errors of `write_body`; or the body is longer than [`BODY_BYTES_MAX`]. `out` is unchanged then.
pub(super) fn push(
    out: &mut Vec<u8>,
    kind: u8,
    id: u32,
    write_body: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    let written = write_body(out).and_then(|()| {
        let len = out.len() - start - HEADER_BYTES;
        if len > BODY_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("a message of {len} bytes is too long")));
        }
        Ok(len)
    });
    let len = written.inspect_err(|_| out.truncate(start))?;
    let (header, body) = out[start..].split_at_mut(HEADER_BYTES);
    header[..4].copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    header[4] = kind;
    header[5..9].copy_from_slice(&id.to_le_bytes());
    let crc = checksum(kind, id, body);
    header[9..].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

fn checksum(kind: u8, id: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(&id.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// The header of a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    /// The length of the body, in bytes.
    pub(super) len: usize,
    kind: u8,
    id: u32,
    crc: u32,
}

/// Reads the next frame. Returns `None` if the peer has closed the connection between two frames.
///
/// # Errors
/// The connection is broken; the body is longer than `bytes_max`; or the checksum is wrong.
pub(super) async fn read(
    reader: &mut (impl AsyncRead + Unpin + ?Sized),
    bytes_max: usize,
) -> io::Result<Option<Frame>> {
    match read_header(reader, bytes_max).await? {
        Some(header) => header.read_body(reader, header.len.min(RESERVED_BYTES_MAX)).await.map(Some),
        None => Ok(None),
    }
}

/// Reads the header of the next frame. Returns `None` if the peer has closed the connection between two frames.
///
/// # Errors
/// The connection is broken, or the body is longer than `bytes_max`.
pub(super) async fn read_header(
    reader: &mut (impl AsyncRead + Unpin + ?Sized),
    bytes_max: usize,
) -> io::Result<Option<Header>> {
    let mut header = [0; HEADER_BYTES];
    let first = reader.read(&mut header).await?;
    if first == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut header[first..]).await?;
    let [l0, l1, l2, l3, kind, i0, i1, i2, i3, crc @ ..] = header;
    let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if len > bytes_max {
        let why = format!("a message of {len} bytes is longer than {bytes_max}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(Some(Header { len, kind, id: u32::from_le_bytes([i0, i1, i2, i3]), crc: u32::from_le_bytes(crc) }))
}

impl Header {
    /// Reads the body of the frame. `reserved` is the number of bytes that are allocated before they arrive.
    ///
    /// # Errors
    /// The connection is broken, or the checksum is wrong.
    pub(super) async fn read_body(
        self,
        reader: &mut (impl AsyncRead + Unpin + ?Sized),
        reserved: usize,
    ) -> io::Result<Frame> {
        let Header { len, kind, id, crc } = self;
        let mut body = Vec::with_capacity(reserved);
        let read = (&mut *reader).take(len as u64).read_to_end(&mut body).await?;
        if read < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if checksum(kind, id, &body) != crc {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the checksum of a message is wrong"));
        }
        Ok(Frame { kind, id, body })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn encoded(kind: u8, id: u32, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        push(&mut out, kind, id, |out| {
            out.extend_from_slice(body);
            Ok(())
        })
        .unwrap();
        out
    }

    #[tokio::test]
    async fn a_frame_survives_encoding() {
        let mut bytes = encoded(3, 7, b"hello");
        bytes.extend(encoded(4, 8, b""));
        let mut reader = bytes.as_slice();
        let first = read(&mut reader, 5).await.unwrap().unwrap();
        assert_eq!(first, Frame { kind: 3, id: 7, body: b"hello".to_vec() });
        let second = read(&mut reader, 5).await.unwrap().unwrap();
        assert_eq!(second, Frame { kind: 4, id: 8, body: Vec::new() });
        assert!(read(&mut reader, 5).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn each_damaged_byte_is_detected() {
        let bytes = encoded(3, 7, b"hello");
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(read(&mut damaged.as_slice(), 1 << 20).await.is_err(), "byte {at}");
        }
        for len in 1..bytes.len() {
            assert!(read(&mut &bytes[..len], 1 << 20).await.is_err(), "cut at {len}");
        }
    }

    #[tokio::test]
    async fn a_long_frame_is_refused_before_it_is_read() {
        let bytes = encoded(3, 7, &[0; 100]);
        assert!(read(&mut &bytes[..HEADER_BYTES], 99).await.unwrap_err().to_string().contains("longer than 99"));
    }

    #[test]
    fn a_failed_body_leaves_nothing_behind() {
        let mut out = vec![1, 2];
        let failed = push(&mut out, 1, 1, |out| {
            out.push(9);
            Err(io::Error::other("no"))
        });
        assert!(failed.is_err());
        assert_eq!(out, [1, 2]);
    }
}
