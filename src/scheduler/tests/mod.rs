mod exact;
mod mixes;
mod prefix;
mod real;
mod single;
mod speculation;
mod thread;
mod toy;
