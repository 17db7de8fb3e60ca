//! Protobuf as tonic reads it, except that a message that cannot be read is its sender's fault, not ours.

use prost::Message;
use tonic::codec::{BufferSettings, DecodeBuf, Decoder};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

type Plain<T, U> = ProstCodec<T, U>;

/// Sends `T` and reads `U`.
#[derive(Debug, Clone)]
pub struct Codec<T, U>(Plain<T, U>);

impl<T, U> Default for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    fn default() -> Self {
        Self(Plain::default())
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <Plain<T, U> as tonic::codec::Codec>::Encoder;
    type Decoder = Reader<<Plain<T, U> as tonic::codec::Codec>::Decoder>;

    fn encoder(&mut self) -> Self::Encoder {
        self.0.encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Reader(self.0.decoder())
    }
}

#[derive(Debug, Clone)]
pub struct Reader<D>(D);

impl<D: Decoder<Error = Status>> Decoder for Reader<D> {
    type Item = D::Item;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        self.0.decode(bytes).map_err(|fault| {
            let why = format!("the message cannot be read: {}", fault.message());
            Status::new(Code::InvalidArgument, why)
        })
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}
