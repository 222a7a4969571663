//! Compression of response bodies.

use std::io;

use async_compression::Level;
use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZlibEncoder};
use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt};
use tokio_util::io::{ReaderStream, StreamReader};

use super::content::ContentCoding;
use super::reply::{HttpResponse, ReplyBody};

/// The minimum length, in bytes, from which a response body is compressed. A shorter body fits into one packet without
/// compression.
const BYTES_MIN: usize = 1 << 10;

/// The maximum length, in bytes, of a response body that is compressed as a whole before it is sent, so that the
/// response has a `Content-Length`. A longer body is compressed while it is sent.
const BUFFERED_BYTES_MAX: usize = 64 << 10;

/// The size of the chunks of compressed output, in bytes.
const CHUNK_BYTES: usize = 16 << 10;

/// The compression level for Brotli. Brotli's default level is too slow for responses that are sent only once.
const BROTLI_LEVEL: Level = Level::Precise(4);

/// Compresses a response if the client accepts a content coding that this server supports, and the body is either
/// streamed or at least 1 KiB long.
pub(crate) async fn compress(response: &mut HttpResponse, request: &HeaderMap) {
    if !matches!(response.body(), ReplyBody::Whole(bytes) if bytes.len() < BYTES_MIN) {
        let whole = std::mem::replace(response, HttpResponse::new(ReplyBody::EMPTY));
        *response = Box::pin(compress_long(whole, ContentCoding::accepted(request))).await;
    }
}

async fn compress_long(mut response: HttpResponse, accepted: Option<ContentCoding>) -> HttpResponse {
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    let Some(coding) = accepted else {
        return response;
    };
    let (mut head, body) = response.into_parts();
    head.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    let body = match body {
        ReplyBody::Whole(bytes) if bytes.len() <= BUFFERED_BYTES_MAX => buffered(bytes, coding).await,
        ReplyBody::Whole(bytes) => streamed(io::Cursor::new(bytes), coding),
        ReplyBody::Stream { stream, .. } => streamed(StreamReader::new(stream), coding),
    };
    HttpResponse::from_parts(head, body)
}

async fn buffered(bytes: Bytes, coding: ContentCoding) -> ReplyBody {
    let mut compressed = Vec::with_capacity(bytes.len() / 4);
    match encoder(&bytes[..], coding).read_to_end(&mut compressed).await {
        Ok(_) => ReplyBody::Whole(compressed.into()),
        // Compressing from memory to memory does not fail. If it did, the error in the stream would close the
        // connection. Otherwise the client could mistake the incomplete body for a complete one.
        Err(error) => ReplyBody::stream(futures_util::stream::iter([Err(error)])),
    }
}

fn streamed(reader: impl AsyncBufRead + Unpin + Send + 'static, coding: ContentCoding) -> ReplyBody {
    ReplyBody::stream(ReaderStream::with_capacity(encoder(reader, coding), CHUNK_BYTES))
}

fn encoder<'a>(
    reader: impl AsyncBufRead + Unpin + Send + 'a,
    coding: ContentCoding,
) -> Box<dyn AsyncRead + Unpin + Send + 'a> {
    match coding {
        ContentCoding::Gzip => Box::new(GzipEncoder::with_quality(reader, Level::Fastest)),
        ContentCoding::Deflate => Box::new(ZlibEncoder::with_quality(reader, Level::Fastest)),
        ContentCoding::Brotli => Box::new(BrotliEncoder::with_quality(reader, BROTLI_LEVEL)),
    }
}

#[cfg(test)]
mod tests {
    use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder};
    use http_body_util::BodyExt;

    use super::*;

    async fn compressed(body: &[u8], coding: ContentCoding) -> HttpResponse {
        let mut response = crate::http::reply::json(200, body.to_vec());
        let accepted = HeaderValue::from_static(coding.name());
        compress(&mut response, &HeaderMap::from_iter([(header::ACCEPT_ENCODING, accepted)])).await;
        response
    }

    async fn round_trip(len: usize, coding: ContentCoding) -> bool {
        let text: Vec<u8> = (0..len).map(|i| b"sqlhttp "[i % 8]).collect();
        let response = compressed(&text, coding).await;
        assert_eq!(response.headers()[header::CONTENT_ENCODING], coding.name());
        assert_eq!(response.headers()[header::VARY], "Accept-Encoding");
        let whole = matches!(response.body(), ReplyBody::Whole(_));
        let sent = response.into_body().collect().await.unwrap().to_bytes();
        assert!(sent.len() < len / 2);
        let mut back = Vec::new();
        let mut decoder: Box<dyn AsyncRead + Unpin> = match coding {
            ContentCoding::Gzip => Box::new(GzipDecoder::new(&sent[..])),
            ContentCoding::Deflate => Box::new(ZlibDecoder::new(&sent[..])),
            ContentCoding::Brotli => Box::new(BrotliDecoder::new(&sent[..])),
        };
        decoder.read_to_end(&mut back).await.unwrap();
        assert_eq!(back, text);
        whole
    }

    #[tokio::test]
    async fn responses_are_compressed_whole_or_in_chunks() {
        for coding in [ContentCoding::Gzip, ContentCoding::Deflate, ContentCoding::Brotli] {
            assert!(round_trip(2000, coding).await);
            assert!(!round_trip(300_000, coding).await);
        }
    }

    #[tokio::test]
    async fn short_responses_are_not_compressed() {
        let response = compressed(b"{}", ContentCoding::Gzip).await;
        assert!(response.headers().get(header::CONTENT_ENCODING).is_none());
    }
}
