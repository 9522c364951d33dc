//! A containerd that speaks its protocol well and means no good: what it sends has no end, or no sense.

use std::{future::poll_fn, io, os::unix::net::UnixStream};

use containerd_client::{
    events::ContainerCreate,
    services::v1::{Container, ListContainerMessage, ListNamespacesResponse, Namespace, VersionResponse},
    to_any,
    types::Envelope,
};
use h2::{
    SendStream,
    server::{self, SendResponse},
};
use http::{HeaderMap, HeaderValue, Response};
use tokio_util::bytes::Bytes;

use super::{GIGABYTE, Manner};

/// How long the long texts in messages are: a message may have 4 MiB.
const LONG: usize = 1 << 20;

/// Answers all questions of a connection in this manner.
pub(super) fn serve(stream: UnixStream, manner: Manner) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stream = tokio::net::UnixStream::from_std(stream)?;
        let mut connection = server::handshake(stream).await.map_err(io::Error::other)?;
        while let Some(asked) = connection.accept().await {
            let (request, respond) = asked.map_err(io::Error::other)?;
            // An error is the end of the answer, and meant to be.
            tokio::spawn(async move { answer(request.uri().path(), respond, manner).await });
        }
        Ok(())
    })
}

async fn answer(path: &str, mut respond: SendResponse<Bytes>, manner: Manner) -> Result<(), h2::Error> {
    let mut head = Response::new(());
    head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut body = respond.send_response(head, false)?;
    if manner == Manner::SendsOtherJson {
        send(&mut body, br#"{"Version": ["20.10"], "ApiVersion": {}, "Id": 7}"#).await?;
        return end(&mut body, 0);
    }
    let (_, question) = path.rsplit_once('/').unwrap_or_default();
    match question {
        "Version" => {
            let version = VersionResponse { version: "1".to_owned(), revision: String::new() };
            send(&mut body, &to_any(&version).value).await?;
        }
        "Subscribe" if manner == Manner::FloodsEvents => {
            let event = Envelope {
                namespace: "default".to_owned(),
                topic: "/containers/create".to_owned(),
                event: Some(to_any(&ContainerCreate { id: "a".repeat(LONG), ..Default::default() })),
                timestamp: None,
            };
            for _ in 0..GIGABYTE / LONG {
                send(&mut body, &to_any(&event).value).await?;
            }
        }
        // No event comes, and no end.
        "Subscribe" => return poll_fn(|context| body.poll_reset(context)).await.map(drop),
        "List" if path.contains("Namespaces") => {
            let namespace = Namespace { name: "default".to_owned(), ..Default::default() };
            send(&mut body, &to_any(&ListNamespacesResponse { namespaces: vec![namespace] }).value).await?;
        }
        "ListStream" if manner == Manner::SendsAGigabyte => {
            for number in 0..GIGABYTE / LONG {
                let labels = [("a".to_owned(), "a".repeat(LONG))].into();
                let container = Container { id: format!("{number:064x}"), labels, ..Default::default() };
                send(&mut body, &to_any(&ListContainerMessage { container: Some(container) }).value).await?;
            }
        }
        // Empty messages and streams.
        "List" => send(&mut body, &[]).await?,
        "ListStream" => {}
        // Not found.
        _ => return end(&mut body, 5),
    }
    end(&mut body, 0)
}

/// One message, as fast as the other end takes it.
async fn send(body: &mut SendStream<Bytes>, message: &[u8]) -> Result<(), h2::Error> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut left = Bytes::from([&[0], &length.to_be_bytes()[..], message].concat());
    while !left.is_empty() {
        body.reserve_capacity(left.len());
        let Some(room) = poll_fn(|context| body.poll_capacity(context)).await.transpose()? else {
            return Err(h2::Reason::CANCEL.into());
        };
        body.send_data(left.split_to(room.min(left.len())), false)?;
    }
    Ok(())
}

fn end(body: &mut SendStream<Bytes>, status: u32) -> Result<(), h2::Error> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.into());
    body.send_trailers(trailers)
}
