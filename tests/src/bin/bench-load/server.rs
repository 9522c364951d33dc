//! The one that answers. One thread per port is enough: the client does one thing at a time.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    thread,
};

use cofferdam_tests::load::{CHUNK, MESSAGE, port};

/// Answers until standard input ends.
pub(crate) fn run() -> anyhow::Result<()> {
    listen(port::CLOSE, |_| Ok(()))?;
    listen(port::BYTE, |mut stream| {
        stream.write_all(&[1])?;
        stream.read(&mut [0]).map(drop)
    })?;
    listen(port::ECHO, |mut stream| {
        stream.set_nodelay(true)?;
        let mut message = [0; MESSAGE];
        loop {
            stream.read_exact(&mut message)?;
            stream.write_all(&message)?;
        }
    })?;
    listen(port::SINK, sink)?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port::ECHO))?;
    thread::spawn(move || {
        let mut message = [0; MESSAGE];
        while let Ok((length, from)) = socket.recv_from(&mut message) {
            // A client that is gone needs no answer.
            let _ = socket.send_to(&message[..length], from);
        }
    });
    crate::say("ready")?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

fn listen(port: u16, answer: impl Fn(TcpStream) -> io::Result<()> + Send + 'static) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            // That the client ends it, in order or not, is how each answer ends.
            let _ = answer(stream);
        }
    });
    Ok(())
}

/// The first eight bytes say how many come, themselves included.
fn sink(mut stream: TcpStream) -> io::Result<()> {
    let mut length = [0; 8];
    stream.read_exact(&mut length)?;
    let mut left = u64::from_be_bytes(length).saturating_sub(8);
    let mut chunk = vec![0; CHUNK];
    while left > 0 {
        let more = stream.read(&mut chunk)? as u64;
        if more == 0 {
            return Ok(());
        }
        left = left.saturating_sub(more);
    }
    stream.write_all(&[1])
}
