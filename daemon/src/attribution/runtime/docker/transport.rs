//! The way to the API: a unix socket that cannot fill our memory, whatever it sends.
//!
//! bollard reads an answer whole, and tries to parse a stream anew with each part of a line that arrives. So what an
//! answer may bring is bounded below it, and events are read line by line here.

use std::{
    io,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bollard::{
    API_DEFAULT_VERSION, BollardRequest, Docker, errors::Error, models::EventMessage,
    query_parameters::EventsOptions,
};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response, Uri,
    body::{Body, Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, ReadBuf, join},
    net::{UnixStream, unix::OwnedReadHalf},
};
use tokio_util::{
    codec::{FramedRead, LinesCodec, LinesCodecError},
    io::StreamReader,
};

use super::Failure;

/// Longest answer, in bytes. The list of 5,000 containers is about 20 MB.
const ANSWER_LIMIT: usize = 32 << 20;
/// Longest event, in bytes. It carries the container's labels.
pub(super) const EVENT_LIMIT: usize = 4 << 20;

/// The API behind `socket`. Each question has a connection of its own, whose answer may have [`ANSWER_LIMIT`] bytes.
///
/// # Errors
/// None that the socket could cause: it is asked for at the first question.
pub(super) fn connect(socket: &Path, timeout: u64) -> Result<Docker, Error> {
    let socket = Arc::<Path>::from(socket);
    let transport = move |request: BollardRequest| {
        let socket = Arc::clone(&socket);
        async move { ask(&socket, to_origin(request), ANSWER_LIMIT).await }
    };
    Docker::connect_with_custom_transport(transport, Some("http://docker"), timeout, API_DEFAULT_VERSION)
}

/// Events from now on. Asked for when it is first polled; Podman does not answer before the first event.
pub(super) fn events(
    docker: &Docker,
    socket: &Path,
    options: &EventsOptions,
) -> impl Stream<Item = Result<EventMessage, Failure>> + use<> {
    let query = serde_urlencoded::to_string(options).unwrap_or_default();
    let path = format!("/v{}/events?{query}", docker.client_version());
    let socket = socket.to_owned();
    let lines = async move {
        let request = Request::get(path).header(header::HOST, "docker").body(Empty::<Bytes>::new());
        let response = ask(&socket, request.map_err(Error::from)?, usize::MAX).await?;
        if !response.status().is_success() {
            return Err(Failure::NoEvents(response.status().as_u16()));
        }
        let body = response.into_body().into_data_stream().map_err(io::Error::other);
        let lines = FramedRead::new(StreamReader::new(body), LinesCodec::new_with_max_length(EVENT_LIMIT));
        Ok(lines.map(|line| event(&line?)))
    };
    stream::once(lines).try_flatten()
}

fn event(line: &str) -> Result<EventMessage, Failure> {
    serde_json::from_str(line).map_err(|error| Failure::Docker(error.into()))
}

impl From<LinesCodecError> for Failure {
    fn from(error: LinesCodecError) -> Self {
        match error {
            LinesCodecError::MaxLineLengthExceeded => Self::LongEvent,
            LinesCodecError::Io(error) => Self::Docker(error.into()),
        }
    }
}

async fn ask<B>(socket: &Path, request: Request<B>, most: usize) -> Result<Response<Incoming>, Error>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let (reader, writer) = UnixStream::connect(socket).await?.into_split();
    let stream = TokioIo::new(join(Bounded { reader, left: most }, writer));
    let (mut sender, connection) = http1::handshake(stream).await?;
    // It ends with the response; what goes wrong in it shows there.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

/// HTTP names the host in a header of its own, and the path alone in the first line.
fn to_origin(request: BollardRequest) -> BollardRequest {
    let (mut head, body) = request.into_parts();
    head.uri = head.uri.path_and_query().cloned().map_or_else(Uri::default, Uri::from);
    head.headers.insert(header::HOST, header::HeaderValue::from_static("docker"));
    BollardRequest::from_parts(head, body)
}

/// A reader that has enough at some point.
struct Bounded {
    reader: OwnedReadHalf,
    left: usize,
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.reader).poll_read(context, buffer))?;
        let left = self.left.checked_sub(buffer.filled().len() - before);
        self.left = left.ok_or_else(|| io::Error::other("it sent a longer answer than makes sense"))?;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixListener,
        path::PathBuf,
        thread,
    };

    use super::*;

    /// A socket that answers each question with `start` and then up to a gigabyte of letters.
    struct Flood(PathBuf);

    impl Flood {
        fn new(name: &str, start: &str) -> Self {
            let path = std::env::temp_dir().join(format!("cofferdam-{name}-{}.sock", std::process::id()));
            let _ = std::fs::remove_file(&path);
            let listener = UnixListener::bind(&path).expect("a socket");
            let start = format!("HTTP/1.1 200 OK\r\n\r\n{start}");
            thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    let _ = stream.read(&mut [0; 4096]);
                    let mut well = stream.write_all(start.as_bytes());
                    for _ in 0..1 << 14 {
                        well = well.and_then(|()| stream.write_all(&[b'a'; 1 << 16]));
                    }
                }
            });
            Self(path)
        }
    }

    impl Drop for Flood {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[tokio::test]
    async fn an_answer_without_end_is_given_up() {
        let socket = Flood::new("answer", "{\"Version\": \"");
        let docker = connect(&socket.0, 60).expect("a client");
        let error = docker.version().await.expect_err("too much");
        let said = format!("{:?}", anyhow::Error::new(error));
        assert!(said.contains("a longer answer than makes sense"), "{said}");
    }

    #[tokio::test]
    async fn events_come_line_by_line_and_one_without_end_is_given_up() {
        let lines = "{\"Action\": \"start\"}\n{\"Action\": \"die\"}\n{\"Action\": \"";
        let socket = Flood::new("events", lines);
        let docker = connect(&socket.0, 60).expect("a client");
        let events = events(&docker, &socket.0, &EventsOptions::default());
        let mut events = std::pin::pin!(events);
        for action in ["start", "die"] {
            let event = events.next().await.expect("an event").expect("well-formed");
            assert_eq!(event.action.as_deref(), Some(action));
        }
        let error = events.next().await.expect("an end").expect_err("too much");
        assert_eq!(error.to_string(), "it sent an event of more than 4 MiB");
    }

    #[tokio::test]
    async fn an_absent_socket_is_said_to_be_absent() {
        let docker = connect(Path::new("/nonexistent/docker.sock"), 60).expect("a client");
        let Err(Error::IOError { err }) = docker.version().await else { panic!("no such error") };
        assert_eq!(err.kind(), io::ErrorKind::NotFound);
    }
}
