//! XDP and AF_XDP: loading the program, UMEM, sockets and rings. The only room with `unsafe`.
