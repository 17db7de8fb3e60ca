//! pb: the messages, servers and clients generated from `proto/`. Nothing here is written by hand.

#![allow(clippy::all, clippy::pedantic)]

tonic::include_proto!("adapterd.v1");

/// The compiled `proto/` files, as gRPC reflection serves them.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("adapterd");
