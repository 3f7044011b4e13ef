//! Bare handlers, the lower bound of a server's cost: they read a request's bytes and always return the same bytes.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::routing::post;
use bytes::{Buf, BufMut as _, Bytes};
use tokio::net::TcpListener;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::{Status, body::Body};

use crate::Result;

/// Serves until it is ended.
pub async fn serve(
    rest: SocketAddr,
    grpc: SocketAddr,
    rest_bytes: Vec<u8>,
    grpc_bytes: Vec<u8>,
) -> Result<()> {
    let answer = Bytes::from(rest_bytes);
    let handler = move |_: Bytes| {
        let answer = answer.clone();
        async move { ([(axum::http::header::CONTENT_TYPE, "application/json")], answer) }
    };
    let router = axum::Router::new().route("/v1/score", post(handler));
    let listener = axum::serve::ListenerExt::tap_io(TcpListener::bind(rest).await?, |stream| {
        let _ = stream.set_nodelay(true);
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    let incoming = TcpIncoming::from(TcpListener::bind(grpc).await?).with_nodelay(Some(true));
    tonic::transport::Server::builder()
        .add_service(Same(grpc_bytes.into()))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}

/// A gRPC service that answers the same to whatever is asked.
#[derive(Clone)]
struct Same(Bytes);

impl NamedService for Same {
    const NAME: &'static str = "evergreen.v1.ScoringService";
}

impl UnaryService<Bytes> for Same {
    type Response = Bytes;
    type Future = std::future::Ready<std::result::Result<tonic::Response<Bytes>, Status>>;

    fn call(&mut self, _: tonic::Request<Bytes>) -> Self::Future {
        ready(Ok(tonic::Response::new(self.0.clone())))
    }
}

impl tonic::codegen::Service<tonic::codegen::http::Request<Body>> for Same {
    type Response = tonic::codegen::http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::codegen::http::Request<Body>) -> Self::Future {
        let same = self.clone();
        Box::pin(async move { Ok(Grpc::new(Raw).unary(same, request).await) })
    }
}

/// Messages as the bytes they are.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> std::result::Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> std::result::Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
