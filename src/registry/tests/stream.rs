//! Blobs that are sent while they are made, and registries in their way.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::super::{Pushed, RegistryError};
use super::upload::{SIZE, Store, methods};
use super::{Reply, Script, client, pattern, quick, repository, ring};
use crate::hashing::sha256;
use crate::ring::RingWriter;

/// Writes `bytes` as a compressor does, and returns whether the file was the whole of them.
pub(super) fn write(mut writer: RingWriter, bytes: Vec<u8>) -> JoinHandle<bool> {
    std::thread::spawn(move || {
        bytes.chunks(100_000).for_each(|piece| writer.write_all(piece).unwrap());
        writer.complete(sha256(&bytes))
    })
}

/// Streams `size` bytes of which at most `capacity` are kept.
async fn stream(
    script: &Script,
    size: usize,
    capacity: u64,
) -> Result<Option<Pushed>, RegistryError> {
    let (mut writer, reader) = ring(capacity);
    let writing = std::thread::spawn(move || {
        let bytes = pattern(size);
        // A registry that gives up ends the writer too.
        let written = bytes.chunks(100_000).all(|piece| writer.write_all(piece).is_ok());
        written && writer.complete(sha256(&bytes))
    });
    let place = repository(&script.authority, "a");
    let streamed = client(quick()).stream_blob(&place, reader).await;
    writing.join().unwrap();
    streamed
}

#[tokio::test]
async fn large_blobs_are_streamed_and_small_ones_left_alone() {
    for (size, expected, requests) in
        [(0, None, ""), (8 << 20, None, ""), (SIZE, Some(Pushed::Uploaded), "POST PATCH HEAD PUT")]
    {
        let store = Store::new(0);
        let script = Script::start(move |request, _| store.answer(request)).await;
        assert_eq!(stream(&script, size, u64::MAX).await.unwrap(), expected);
        assert_eq!(methods(&script), requests, "{size}");
    }
}

#[tokio::test]
async fn a_blob_that_is_there_is_not_committed() {
    let store = Store::new(0);
    *store.done.lock().unwrap() = true;
    let script = Script::start(move |request, _| store.answer(request)).await;
    assert_eq!(stream(&script, SIZE, u64::MAX).await.unwrap(), Some(Pushed::Existed));
    assert_eq!(methods(&script), "POST PATCH HEAD DELETE");
}

#[tokio::test]
async fn a_writer_that_gives_up_leaves_no_session() {
    let store = Store::new(0);
    let (mut writer, reader) = ring(u64::MAX);
    writer.write_all(&pattern(SIZE)).unwrap();
    let writer = Mutex::new(Some(writer));
    let script = Script::start(move |request, _| {
        writer.lock().unwrap().take_if(|_| request.method == "POST");
        store.answer(request)
    })
    .await;
    let place = repository(&script.authority, "a");
    let streamed = client(quick()).stream_blob(&place, reader).await;
    assert_eq!(streamed.unwrap(), None);
    assert!(methods(&script).ends_with("DELETE"), "{}", methods(&script));
    assert!(!methods(&script).contains("PUT"));
}

#[tokio::test]
async fn a_broken_stream_goes_on_in_chunks_after_what_the_registry_has() {
    for hang_up in [true, false] {
        let store = Store::new(1);
        let script = Script::start(move |request, _| {
            if request.method == "PATCH" && store.fault() {
                store.take(&request.body[..5_000_000]);
                return if hang_up { Reply::HangUp } else { Reply::status(500) };
            }
            store.answer(request)
        })
        .await;
        let streamed = stream(&script, 2 * SIZE, u64::MAX).await.unwrap();
        assert_eq!(streamed, Some(Pushed::Uploaded));
        assert_eq!(methods(&script), "POST PATCH GET PATCH PATCH HEAD PUT");
        let range = script.requests()[3].header("content-range").map(str::to_owned);
        assert_eq!(range.as_deref(), Some("5000000-13388607"));
    }
}

#[tokio::test]
async fn what_refuses_bodies_without_a_length_gets_chunks() {
    for status in [411, 413] {
        let store = Store::new(0);
        let script = Script::start(move |request, _| {
            match request.method == "PATCH" && request.header("content-length").is_none() {
                true => Reply::status(status),
                false => store.answer(request),
            }
        })
        .await;
        assert_eq!(stream(&script, SIZE, u64::MAX).await.unwrap(), Some(Pushed::Uploaded));
        assert_eq!(methods(&script), "POST PATCH DELETE POST PATCH PATCH HEAD PUT", "{status}");
    }
}

#[tokio::test]
async fn a_lost_session_is_begun_anew_as_long_as_all_is_kept() {
    for (capacity, comes_through) in [(u64::MAX, true), (24 << 20, false)] {
        let store = Store::new(1);
        let script = Script::start(move |request, _| {
            let faulty = request.method == "PATCH" && store.fault();
            match faulty {
                true => Reply::refusal(404, "BLOB_UPLOAD_UNKNOWN", "gone"),
                false => store.answer(request),
            }
        })
        .await;
        let streamed = stream(&script, 40 << 20, capacity).await;
        if comes_through {
            assert_eq!(streamed.unwrap(), Some(Pushed::Uploaded));
        } else {
            let error = streamed.unwrap_err();
            assert!(matches!(error, RegistryError::Broken { .. }), "{error}");
            assert!(error.may_stream_again() && error.to_string().contains("404"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_registry_that_takes_no_patch_is_believed() {
    for status in [400, 403, 404, 405, 416] {
        let store = Store::new(0);
        let script = Script::start(move |request, _| match request.method.as_str() {
            "PATCH" => Reply::status(status),
            _ => store.answer(request),
        })
        .await;
        let error = stream(&script, 40 << 20, 24 << 20).await.unwrap_err();
        let expected = matches!(status, 404 | 416);
        assert_eq!(error.may_stream_again(), expected, "{status}: {error}");
        assert!(methods(&script).ends_with("DELETE") || expected, "{}", methods(&script));
    }
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_counts() {
    let store = Store::new(1);
    let script = Script::start(move |request, _| {
        if request.method == "PUT" && store.fault() {
            store.answer(request);
            return Reply::HangUp;
        }
        store.answer(request)
    })
    .await;
    assert_eq!(stream(&script, SIZE, u64::MAX).await.unwrap(), Some(Pushed::Uploaded));
    assert_eq!(methods(&script), "POST PATCH HEAD PUT HEAD");
}

/// What a slow registry has not taken stays within the file and the buffers of the sockets.
#[tokio::test]
async fn a_slow_registry_slows_the_writer_down() {
    const CAPACITY: u64 = 16 << 20;
    const BUFFERS: u64 = 12 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    let (writer, reader) = ring(CAPACITY);
    let writing = write(writer, pattern(96 << 20));
    let (seen, taken) = (reader.clone(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&taken);
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut piece = vec![0; 64 * 1024];
            let first = stream.read(&mut piece).await.unwrap_or(0);
            let head = String::from_utf8_lossy(&piece[..first]).into_owned();
            let answer = match head.split(' ').next().unwrap_or_default() {
                "PATCH" => {
                    let mut end = Vec::new();
                    while !end.ends_with(b"0\r\n\r\n") {
                        let got = stream.read(&mut piece).await.unwrap();
                        let all = count.fetch_add(got, Ordering::Relaxed) + got;
                        assert!(seen.written() <= all as u64 + CAPACITY + BUFFERS, "{all}");
                        end.extend_from_slice(&piece[got.saturating_sub(5)..got]);
                        end.drain(..end.len().saturating_sub(5));
                    }
                    "202 Accepted\r\nLocation: /u"
                }
                "POST" => "202 Accepted\r\nLocation: /u",
                "HEAD" => "404 Not Found",
                "PUT" => "201 Created",
                "GET" => "200 OK",
                // TLS, which this is not.
                _ => continue,
            };
            let answer =
                format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let place = repository(&authority, "a");
    let streamed = client(quick()).stream_blob(&place, reader).await;
    assert_eq!(streamed.unwrap(), Some(Pushed::Uploaded));
    assert!(!writing.join().unwrap());
    assert!(taken.load(Ordering::Relaxed) > 96 << 20);
    serving.abort();
}
