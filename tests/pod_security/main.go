// Kubernetes' own judgement of manifests, without a server: strict decoding by the current API types
// (a misspelt field is an error) and Pod Security `restricted` for each pod and pod template.
// usage: go run . <MANIFESTS    prints a line per object; exit status 1 when one is refused
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// The pod that an object makes, if it makes one.
func podOf(object runtime.Object) (*metav1.ObjectMeta, *corev1.PodSpec) {
	switch it := object.(type) {
	case *corev1.Pod:
		return &it.ObjectMeta, &it.Spec
	case *appsv1.Deployment:
		return &it.Spec.Template.ObjectMeta, &it.Spec.Template.Spec
	case *batchv1.Job:
		return &it.Spec.Template.ObjectMeta, &it.Spec.Template.Spec
	}
	return nil, nil
}

func judge(document []byte, decoder runtime.Decoder, evaluator policy.Evaluator) (string, error) {
	object, kind, err := decoder.Decode(document, nil, nil)
	if err != nil {
		return "", err
	}
	metadata, spec := podOf(object)
	if spec == nil {
		return kind.Kind, nil
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	result := policy.AggregateCheckResults(evaluator.EvaluatePod(restricted, metadata, spec))
	if !result.Allowed {
		return kind.Kind, errors.New("violates PodSecurity \"restricted\": " + result.ForbiddenDetail())
	}
	return kind.Kind + ", restricted", nil
}

func main() {
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	documents := yaml.NewYAMLReader(bufio.NewReader(os.Stdin))
	status := 0
	for {
		document, err := documents.Read()
		if err == io.EOF {
			os.Exit(status)
		}
		what, refusal := "", err
		if err == nil {
			what, refusal = judge(document, decoder, evaluator)
		}
		if refusal != nil {
			fmt.Println("refused:", what, refusal)
			status = 1
			continue
		}
		fmt.Println("accepted:", what)
	}
}
