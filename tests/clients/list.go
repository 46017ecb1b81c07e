// Go's own HTTP client, as client-go uses it: many requests at once over what ALPN chose, then an
// upload, then a cancelled watch. usage: go run list.go URL CA_FILE TOKEN
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	url, token := os.Args[1], os.Args[3]
	pem, err := os.ReadFile(os.Args[2])
	check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
	do := func(ctx context.Context, method, path, body string) *http.Response {
		request, err := http.NewRequestWithContext(ctx, method, url+path, strings.NewReader(body))
		check(err)
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := client.Do(request)
		check(err)
		if response.ProtoMajor != 2 {
			check(fmt.Errorf("%s came over %s", path, response.Proto))
		}
		return response
	}
	var group sync.WaitGroup
	for i := 0; i < 500; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			response := do(context.Background(), "GET", "/api/v1/namespaces/default/pods", "")
			body, err := io.ReadAll(response.Body)
			check(err)
			if response.StatusCode != 200 || !strings.Contains(string(body), "demo") {
				check(fmt.Errorf("list: %s", response.Status))
			}
		}()
	}
	group.Wait()
	response := do(context.Background(), "POST", "/api/v1/namespaces/default/configmaps",
		`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"go-"},"data":{"a":"`+
			strings.Repeat("x", 300000)+`"}}`)
	_, err = io.Copy(io.Discard, response.Body)
	check(err)
	if response.StatusCode != 201 {
		check(fmt.Errorf("create: %s", response.Status))
	}
	ctx, cancel := context.WithCancel(context.Background())
	watch := do(ctx, "GET", "/api/v1/namespaces/default/pods?watch=1", "")
	if _, err = watch.Body.Read(make([]byte, 16)); err != nil {
		check(err)
	}
	cancel()
	fmt.Println("ok")
}
