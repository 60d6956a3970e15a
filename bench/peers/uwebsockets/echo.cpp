// An echo server on uWebSockets, as its own example shows it but for TLS, compression,
// its pings and its time limit for the idle: an event loop over epoll.
#include "App.h"

#include <cstdlib>
#include <string>

int main(int, char **argv) {
    struct Nothing {};
    std::string address = argv[1];
    size_t colon = address.find(':');
    uWS::App()
        .ws<Nothing>("/*", {
            .compression = uWS::DISABLED,
            .maxPayloadLength = 64 * 1024,
            .idleTimeout = 0,
            .maxBackpressure = 128 * 1024,
            .sendPingsAutomatically = false,
            .message = [](auto *ws, std::string_view message, uWS::OpCode op) { ws->send(message, op, false); },
        })
        .listen(address.substr(0, colon), std::atoi(address.c_str() + colon + 1), [](auto *socket) {
            if (!socket) std::exit(1);
        })
        .run();
}
