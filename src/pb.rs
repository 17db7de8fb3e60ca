//! pb: the messages, servers and clients generated from `proto/`, and how their messages are read. Else nothing here is
//! written by hand.

#![allow(clippy::all, clippy::pedantic)]

mod codec;

tonic::include_proto!("adapterd.v1");

pub(crate) use codec::Codec;

/// The compiled `proto/` files, as gRPC reflection serves them.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("adapterd");
