//! The XML interface: from a request to its execution and its answer.

use std::collections::HashMap;
use std::fmt::Write as _;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_RANGE, ETAG, HeaderMap, LAST_MODIFIED, RANGE};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use percent_encoding::percent_decode_str;

pub(super) use crate::http_server::Answer;

use super::bucket::{Buckets, Key, Object, Query, Refusal};

/// Executes a request.
pub(super) fn execute(buckets: &mut Buckets, head: &Parts, body: Bytes) -> Answer {
    let path = head.uri.path().trim_start_matches('/');
    let (bucket, name) = path.split_once('/').unwrap_or((path, ""));
    let key = (decoded(bucket), decoded(name));
    let query = url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes());
    let query: HashMap<_, _> = query.collect();
    let asked = |name: &str| query.get(name).map(AsRef::as_ref);
    let expected = header(&head.headers, "x-goog-if-generation-match").map(str::parse);
    let Ok(expected) = expected.transpose() else {
        return failure(StatusCode::BAD_REQUEST, "InvalidArgument");
    };
    match (&head.method, asked("uploadId")) {
        (&Method::PUT, Some(id)) => {
            let Some(part) = asked("partNumber").and_then(|part| part.parse().ok()) else {
                return failure(StatusCode::BAD_REQUEST, "InvalidArgument");
            };
            match buckets.put_part(id, part, body) {
                Ok(()) => {
                    let mut answer = xml(StatusCode::OK, String::new());
                    set(&mut answer, ETAG.as_str(), &format!("\"part-{part}\""));
                    answer
                }
                Err(refusal) => refused(&refusal),
            }
        }
        (&Method::PUT, None) => put(buckets, key, body, &head.headers, expected),
        (&Method::POST, None) if asked("uploads").is_some() => {
            let id = buckets.begin(Buckets::kept(&head.headers));
            let root = "InitiateMultipartUploadResult";
            xml(
                StatusCode::OK,
                format!("<{root}><UploadId>{id}</UploadId></{root}>"),
            )
        }
        (&Method::POST, Some(id)) => {
            let parts = part_numbers(&String::from_utf8_lossy(&body));
            match buckets.complete(key, id, &parts, expected) {
                Ok(object) => written(&object, "CompleteMultipartUploadResult"),
                Err(refusal) => refused(&refusal),
            }
        }
        (&Method::DELETE, Some(id)) => {
            buckets.abort(id);
            xml(StatusCode::NO_CONTENT, String::new())
        }
        (&Method::DELETE, None) => match buckets.delete(&key) {
            true => xml(StatusCode::NO_CONTENT, String::new()),
            false => failure(StatusCode::NOT_FOUND, "NoSuchKey"),
        },
        (&Method::GET, None) if key.1.is_empty() => {
            let query = Query {
                prefix: asked("prefix").unwrap_or_default(),
                delimiter: asked("delimiter").unwrap_or_default(),
                start_after: asked("start-after").unwrap_or_default(),
                token: asked("continuation-token").unwrap_or_default(),
                entries_max: asked("max-keys")
                    .and_then(|n| n.parse().ok())
                    .unwrap_or(1000),
            };
            list(buckets, &key.0, &query)
        }
        // The bytes of a HEAD's answer are counted, and left out by hyper.
        (&Method::GET | &Method::HEAD, None) => match buckets.get(&key) {
            Some(object)
                if asked("generation").is_none_or(|of| of == object.generation.to_string()) =>
            {
                get(object, &head.headers)
            }
            _ => failure(StatusCode::NOT_FOUND, "NoSuchKey"),
        },
        _ => failure(StatusCode::BAD_REQUEST, "InvalidArgument"),
    }
}

fn put(
    buckets: &mut Buckets,
    key: Key,
    body: Bytes,
    headers: &HeaderMap,
    expected: Option<u64>,
) -> Answer {
    let Some(source) = header(headers, "x-goog-copy-source") else {
        return match buckets.put(key, body, Buckets::kept(headers), expected) {
            Ok(object) => written(&object, ""),
            Err(refusal) => refused(&refusal),
        };
    };
    let source = decoded(source.trim_start_matches('/'));
    let (bucket, name) = source.split_once('/').unwrap_or((&source, ""));
    let Some(from) = buckets.get(&(bucket.to_owned(), name.to_owned())).cloned() else {
        return failure(StatusCode::NOT_FOUND, "NoSuchKey");
    };
    match buckets.put(key, from.bytes, from.headers, expected) {
        Ok(object) => written(&object, "CopyObjectResult"),
        Err(refusal) => refused(&refusal),
    }
}

fn get(object: &Object, headers: &HeaderMap) -> Answer {
    let etag = object.etag();
    let mut answer = if header(headers, "if-none-match") == Some(&etag) {
        xml(StatusCode::NOT_MODIFIED, String::new())
    } else if header(headers, "if-match").is_some_and(|expected| expected != etag) {
        return failure(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
    } else if let Some(range) = header(headers, RANGE.as_str()) {
        let size = object.bytes.len();
        let Some((from, to)) = byte_range(range, size) else {
            return failure(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange");
        };
        let mut part = Response::new(Full::new(object.bytes.slice(from..to)));
        *part.status_mut() = StatusCode::PARTIAL_CONTENT;
        let range = format!("bytes {from}-{}/{size}", to - 1);
        set(&mut part, CONTENT_RANGE.as_str(), &range);
        part
    } else {
        Response::new(Full::new(object.bytes.clone()))
    };
    describe(&mut answer, object);
    let kept = object.headers.iter().cloned();
    answer.headers_mut().extend(kept);
    answer
}

/// Where the asked bytes start and end (exclusive); none when there are no such.
fn byte_range(range: &str, size: usize) -> Option<(usize, usize)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (from, to) = match (from, to) {
        ("", last) => (size.saturating_sub(last.parse().ok()?), size),
        (from, "") => (from.parse().ok()?, size),
        (from, to) => (
            from.parse().ok()?,
            to.parse::<usize>().ok()?.saturating_add(1),
        ),
    };
    let to = to.min(size);
    (from < to).then_some((from, to))
}

fn list(buckets: &Buckets, bucket: &str, query: &Query<'_>) -> Answer {
    let page = buckets.list(bucket, query);
    let mut text = format!("<ListBucketResult><Name>{}</Name>", escaped(bucket));
    for (name, object) in &page.objects {
        // Writing into a String does not fail.
        let _ = write!(
            text,
            "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>{}</ETag><Size>{}</Size>\
             <Generation>{}</Generation></Contents>",
            escaped(name),
            object.written().format("%Y-%m-%dT%H:%M:%S.000Z"),
            escaped(&object.etag()),
            object.bytes.len(),
            object.generation,
        );
    }
    for prefix in &page.prefixes {
        let prefix = escaped(prefix);
        let _ = write!(
            text,
            "<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>"
        );
    }
    if let Some(next) = &page.next {
        let next = escaped(next);
        let _ = write!(
            text,
            "<NextContinuationToken>{next}</NextContinuationToken>"
        );
    }
    let more = page.next.is_some();
    let _ = write!(text, "<IsTruncated>{more}</IsTruncated></ListBucketResult>");
    xml(StatusCode::OK, text)
}

/// The answer to a write, in an element of that name if there is to be one.
fn written(object: &Object, element: &str) -> Answer {
    let body = match element {
        "" => String::new(),
        _ => format!(
            "<{element}><ETag>{}</ETag></{element}>",
            escaped(&object.etag())
        ),
    };
    let mut answer = xml(StatusCode::OK, body);
    describe(&mut answer, object);
    answer
}

fn describe(answer: &mut Answer, object: &Object) {
    set(answer, ETAG.as_str(), &object.etag());
    set(answer, "x-goog-generation", &object.generation.to_string());
    let written = object.written().format("%a, %d %b %Y %H:%M:%S GMT");
    set(answer, LAST_MODIFIED.as_str(), &written.to_string());
}

fn refused(refusal: &Refusal) -> Answer {
    match refusal {
        Refusal::Precondition => failure(StatusCode::PRECONDITION_FAILED, "PreconditionFailed"),
        Refusal::NoSuchUpload => failure(StatusCode::NOT_FOUND, "NoSuchUpload"),
        Refusal::InvalidPart => failure(StatusCode::BAD_REQUEST, "InvalidPart"),
    }
}

/// An error in the server's words.
pub(super) fn failure(status: StatusCode, code: &str) -> Answer {
    xml(
        status,
        format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>"),
    )
}

fn xml(status: StatusCode, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer
}

fn set(answer: &mut Answer, name: &str, value: &str) {
    let name = hyper::header::HeaderName::from_bytes(name.as_bytes());
    if let (Ok(name), Ok(value)) = (name, value.parse()) {
        answer.headers_mut().insert(name, value);
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// The numbers of `<PartNumber>3</PartNumber>` in the body of a completion, in its order.
fn part_numbers(body: &str) -> Vec<u32> {
    let tails = body.split("<PartNumber>").skip(1);
    tails
        .filter_map(|tail| tail.split('<').next()?.trim().parse().ok())
        .collect()
}
