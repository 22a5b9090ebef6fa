from tests.http.conftest import Running
def test_x(server: Running):
    b=server.builder
    b.filled("open", [b"leaf %d" % i for i in range(300)], visibility="public")
    server.services.publisher.refresh()
    import time
    for path in ["/logs/open/checkpoint","/logs/open/tile/0/000","/logs/open/tile/entries/001.p/44","/logs/open/root","/logs/open/root?size=17","/logs/open/proof?index=3","/logs/open/consistency?old_size=3","/logs","/logs/open/size","/logs/nope/exists","/logs/nope/size","/logs/open/entries?limit=2","/logs/open/entries/299","/logs/open/search?limit=2","/logs/open/checkpoints","/logs/open/keys","/logs/open/witnesses","/logs/open/sources","/api/v1/health","/admin/status","/metrics","/openapi.json","/docs","/problems/seal/log_not_found","/api/v1/events", "/nope", "/logs/open/proof?index=x"]:
        kw = {"headers":{"accept":"application/json"}} if "events" in path else {}
        for c in (server.anonymous, server.operator):
            t=time.time()
            r=c.get(path, **kw)
            print(path, r.status_code, r.headers.get("content-type"), r.text[:150].replace("\n","|"), round((time.time()-t)*1000,1))
