"""One worker, since the bench gives the server one core, and two threads: one alone leaves the core idle while a create
waits for the disk (a third of the creates), and four are slower on lists. `sync` cannot keep connections alive."""

import os

wsgi_app = "config.wsgi"
bind = os.environ.get("BENCH_BIND", "127.0.0.1:8000")
workers = 1
worker_class = os.environ.get("BENCH_WORKER", "gthread")
threads = int(os.environ.get("BENCH_THREADS", "2"))
keepalive = 60
control_socket_disable = True
